import pytest

from trilith.reports.peers import PEER_COMMAND, PEER_FAMILY, peers


def test_every_peer_has_its_source_and_its_blocks():
    rows = {(peer.design, peer.what): peer for peer in peers()}
    assert PEER_FAMILY == "xcup"
    assert "synth_xilinx -family xcup -flatten -noiopad" in PEER_COMMAND
    assert all(peer.source and peer.date for peer in rows.values())
    assert {peer.label for peer in rows.values()} == {"measured by us, same command"}
    # Look-up tables decide.
    one = rows["bitnet-kv260 ternary_matvec", "one slice"]
    assert one.blocks_per_mac == pytest.approx(30.7 / 8)
    two = rows["bitnet-kv260 ternary_matvec", "two slices"]
    assert two.blocks_per_mac == pytest.approx(24.3 / 8)
