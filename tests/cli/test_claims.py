import json


def test_claims(trilith):
    text = trilith("claims").stdout
    assert "71.4x at 7 nm and 50.0x at 45 nm" in text
    assert len(json.loads(trilith("claims", "--json").stdout)["claims"]) == 14
