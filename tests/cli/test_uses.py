"""Options that would be ignored: a table of every option of every verb, and a case for each."""

import re
from importlib import import_module

import pytest
import typer

from trilith.cli.main import _VERBS
from trilith.cli.options import OptionError
from trilith.sim.cost.core_designs import CORE_DESIGNS

#: Options that have an effect whatever else is given, by verb.
ALWAYS = {
    "sim": "waves checkpoint network",
    "verilog": "out core lanes rows tokens act-bits code k-max n-max levels-per-stage target "
    "name wrapper period-ns force",
    "model inspect": "quantize i2s-layout type42",
    "model convert": "quantize i2s-layout type42 to hidden-act",
    "model verify": "quantize i2s-layout type42",
    "model compile": "quantize i2s-layout type42 hidden-act out force core",
    "estimate": "design memory bandwidth-gb-s capacity-gb memory-pj-per-bit clock-mhz technology "
    "lanes rows tokens code validation list write-technology",
    "energy mac": "library all",
    "energy matmul": "n k tokens technology dram rows sram adder-bits",
    "energy paper": "config tokens",
    "energy token": "context dram library",
    "zigzag": "out preset library memory force lanes rows tokens act-bits code k-max n-max "
    "levels-per-stage target",
    "sweep": "out model lanes rows tokens clock-mhz memory context batch code technology scheduler "
    "force",
    "claims": "",
    "characterize": "library liberty unit all search",
    "fpga boards": "",
    "fpga build": "board",
    "fpga simulate": "board flip drop repeat insert",
    "fpga selftest": "port",
    "fpga run": "port stream checkpoint seed i2s-layout type42",
    "fpga load": "port i2s-layout type42 hidden-act",
    "fpga generate": "port stream model prompt max-tokens beyond-context temperature seed image "
    "i2s-layout type42 hidden-act",
    "report area": "core family",
    "report fpga": "",
    "report baselines": "name family lanes",
    "report figures": "out force",
    "report model": "technology out memory context force",
    "cache": "clear",
    "doctor": "",
    "completion": "",
}
LIBRARY = "--library a --liberty b"
#: Options of the fields of a core, and of an engine with legal values.
CORE_FIELDS = (
    *("vector-lanes", "attention-lanes", "memory-width", "hidden-max", "ffn-max", "heads-max"),
    *("kv-heads-max", "head-size-max", "context-max", "vocabulary-max"),
)
ENGINE_FIELDS = {
    **dict.fromkeys(("lanes", "rows", "tokens", "act-bits", "k-max", "n-max"), 8),
    **{"levels-per-stage": 1, "code": "tq1", "target": "fpga"},
}
#: Options that need another, or exclude it: verb, command line, and message.
CASES = [
    *(
        ("sim", f"--{name}", f"--{name.split()[0]} must not be given without {need}")
        for name, need in (
            ("layer 1", "--checkpoint"),
            ("i2s-layout rows4", "--checkpoint"),
            ("i2s-layout auto", "--checkpoint"),
            ("type42 stq1_0", "--checkpoint"),
            ("force", "--waves or --out"),
            ("inputs a.npy", "--network"),
            ("out a.npy", "--network"),
            ("preset micro", "--network"),
            *((f"{name} {value}", "--network") for name, value in ENGINE_FIELDS.items()),
        )
    ),
    ("sim", "--part digits --checkpoint x", "--part must not be given with --checkpoint"),
    *(
        ("sim", f"--{name} x --network y", f"--{name} must not be given with --network")
        for name in ("checkpoint", "waves")
    ),
    ("sim", "--part digits --network x", "--part must not be given with --network"),
    *(
        (
            "verilog",
            f"--preset micro --out a.v --{bus}-width 64",
            f"--{bus}-width .* without --w",
        )
        for bus in ("weights", "activations", "results")
    ),
    (
        "verilog",
        "--preset micro --out a.v --wrapper axi --testbench",
        "--testbench must not be given with --wrapper axi",
    ),
    *(
        ("verilog", f"--core small --out a.v --{more}", f"--{more.split()[0]} .* with --core, ")
        for more in ("preset micro", "family ecp5")
    ),
    *(
        (
            "verilog",
            f"--core small --out a.v --wrapper axi --{bus}-width 64",
            f"--{bus}-width .* wi",
        )
        for bus in ("activations", "results")
    ),
    *(
        (verb, f"{start} --out a.v --{name} 8", f"--{name} must not be given without --core, ")
        for verb, start in (("verilog", "--preset micro"), ("model compile", "x"))
        for name in CORE_FIELDS
    ),
    *(
        ("model compile", f"x --out a --{name} {value}", f"--{name} .* without --core, which it is")
        for name, value in ENGINE_FIELDS.items()
    ),
    *(
        ("model convert", f"a b --to {to} --{name} {value}", f"--{name} .* without --to stream")
        for to in ("tq1_0", "tq2_0", "i2_s", "huggingface")
        for name, value in (("preset", "bitnet"), ("code", "tq1"), ("k-max", 9), ("n-max", 9))
    ),
    *(
        (
            "model convert",
            f"a b --to {to} --{name}",
            f"--{name.split()[0]} .* without --to tq1_0 or --to tq2_0",
        )
        for to in ("stream", "huggingface")
        for name in ("force", "embeddings float16")
    ),
    ("estimate", "--equal area", "--equal must not be given without --versus"),
    ("estimate", "--prompt 9 --context 9", "--context must not be given with --prompt"),
    *(
        ("estimate", f"{more} --validation", f"{more.split()[0]} .* with --validation")
        for more in (
            "--design micro",
            "--memory ddr3",
            "--bandwidth-gb-s 9",
            "--capacity-gb 9",
            "--context 9",
            "--batch 2",
            "--prompt 9",
            "--clock-mhz 9",
            "--profile jouppi7",
            "--versus fp16",
        )
    ),
    *(
        (
            "estimate",
            f"--design {core} --{more}",
            f"--{more.split()[0]} must not be given with --design {core}, which does not use it",
        )
        for core in CORE_DESIGNS
        for more in ("batch 2", "prompt 9", "versus fp16", "head fp16", "cache-bits 8")
    ),
    *(
        ("estimate", f"--{more} 8", f"--{more} .* without --design core or --design core-kv260, ")
        for more in ("vector-lanes", "attention-lanes", "memory-width")
    ),
    *(
        (verb, f"{needed} --profile jouppi7 --technology a", "--profile .* with --technology")
        for verb, needed in (
            ("estimate", ""),
            ("energy matmul", "--n 9 --k 9"),
            ("sweep", "--out a"),
            ("report model", "a --out b"),
        )
    ),
    ("estimate", "--force", "--force must not be given without --write-technology"),
    *(
        ("estimate", f"{more} --write-technology a", f"{more.split()[0]} .* with --write-techn")
        for more in ("--design micro", "--lanes 8", "--versus fp16", "--context 9")
    ),
    ("estimate", "--list --memory ddr3", "--memory must not be given with --list"),
    ("estimate", "bitnet-2b4t --validation", "MODEL .* with --validation"),
    (
        "energy matmul",
        "--n 9 --k 9 --dram none --pass-tokens 2",
        "--pass-tokens must not be given with --dram none",
    ),
    *(
        (
            "characterize",
            f"{LIBRARY} {way} {more}",
            f"{more.split()[0]} .* with {way}",
        )
        for way in ("--all", "--search", "--sram", "--arrays", "--token-core")
        for more in (
            "--lanes 9",
            "--rows 1",
            "--levels-per-stage 2",
            "--variant no-sum",
            "--operands 2b4t",
        )
    ),
    *(
        ("characterize", f"{LIBRARY} {way} {more}", f"{more.split()[0]} .* {reason}")
        for way, more, reason in (
            ("--sram", "--clock-ghz 1", "with --sram"),
            ("--sram", "--glitches", "with --sram"),
            ("--sram", "--placed", "with --sram"),
            ("--search", "--glitches", "with --search"),
            ("--unit int8xint8", "--node x", "without --all or --search or --sram"),
            ("--arrays", "--node x", "without --all or --search or --sram"),
            ("--unit int8xint8", "--out x", "without --all or --search or --sram or --arrays"),
            ("--unit int8xint8", "--jobs 2", "without --all or --search"),
            ("--sram", "--jobs 2", "without --all or --search"),
        )
    ),
    *(
        (
            "characterize",
            f"{LIBRARY} --sram {way}",
            f"--sram .* with {way.split()[0]}",
        )
        for way in ("--all", "--unit int8xint8")
    ),
    *(
        (
            "characterize",
            f"{LIBRARY} --token-core {more}",
            f"--token-core .* with {more.split()[0]}",
        )
        for more in ("--all", "--search", "--sram", "--arrays", "--unit int8xint8", "--glitches")
    ),
    *(
        ("characterize", f"{LIBRARY} --arrays {more}", f"--arrays .* with {more.split()[0]}")
        for more in (
            *("--all", "--sram", "--unit int8xint8", "--glitches", "--placed"),
            "--clock-ghz 1",
        )
    ),
    *(
        ("report area", f"--core {more}", f"{more.split()[0]} must not be given with --core, .*")
        for more in ("--sweep", "--code escape", "--max-macs 9")
    ),
    ("report area", "--board kv260", "--board must not be given without --core"),
    ("report area", "--core --board kv260 --family xcup", "--board .* with --family"),
    ("fpga simulate", "--seed 1", "--seed .* without --flip or --drop or --repeat or --insert"),
    ("fpga build", "--board arty-a7-35t --seed 1", "--seed must not be given for arty-a7-35t"),
    (
        "fpga build",
        "--board ecpix5 --sdram-module AS4C32M16",
        "--sdram-module of ecpix5 must be left out",
    ),
    ("fpga generate", "--port x --load", "--load must not be given without --port sim"),
    *(
        (f"fpga {verb}", "--port sim --baud 9600", "--baud must not be given with --port sim")
        for verb in ("selftest", "run", "load", "generate")
    ),
]


def verbs():
    """Commands by name."""
    found = {}
    for verb in _VERBS:
        group = typer.main.get_command(import_module(f"trilith.cli.{verb}").app)
        for name, command in getattr(group, "commands", {"": group}).items():
            found[f"{verb} {name}".strip()] = command
    return found


VERBS = verbs()


@pytest.mark.parametrize("verb", ALWAYS)
def test_every_option_is_used_or_has_a_case(verb):
    """Whoever adds an option says when it has an effect."""
    names = {
        max(one.opts, key=len).removeprefix("--")
        for one in VERBS[verb].params
        if one.param_type_name == "option"
    }
    said = {
        re.match(r"--([\w-]+)", message)[1]
        for name, _, message in CASES
        if name == verb and message.startswith("--")
    }
    assert names - {"json"} == said | set(ALWAYS[verb].split())


@pytest.mark.parametrize(("verb", "arguments", "message"), CASES)
def test_an_option_without_effect_is_refused(verb, arguments, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        VERBS[verb].main(arguments.split(), standalone_mode=False)


def test_every_verb_is_in_the_table():
    assert {*VERBS} == {*ALWAYS, "generate"}


@pytest.mark.parametrize(("verb", "command"), VERBS.items())
def test_what_is_given_twice_or_empty_is_refused(verb, command):
    for one in command.params:
        if one.param_type_name != "option":
            continue
        name = max(one.opts, key=len)
        value = [] if one.is_flag else ["1"]
        if not one.multiple and name != "--help":
            with pytest.raises(OptionError, match=f"^{name} must be given once$"):
                command.make_context(verb, [name, *value, name, *value])
        if not one.is_flag:
            with pytest.raises(OptionError, match=f"^{name} must not be empty$"):
                one.process_value(None, ("",) if one.multiple else "")
