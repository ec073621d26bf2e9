import json


def test_doctor(command):
    done = command("doctor", "--json")
    assert done.returncode == 0
    tools = {tool["name"]: tool for tool in json.loads(done.stdout)}
    assert tools["cocotb"]["found"] == "cocotb 2.1.0"
    assert tools["verilator"]["found"]
    missing = command("doctor", PATH="/nowhere")
    assert missing.returncode == 1
    assert "missing  install a C++17 compiler" in missing.stdout
