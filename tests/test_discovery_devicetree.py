# SPDX-License-Identifier: Apache-2.0
"""Device trees: as a folder, compiled, with overlays; of a board, and of QEMU's machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal import discovery
from hal.discovery import DeviceTree, TreeNode, devicetree
from hal.discovery.devicetree import SIZE_MAX, disabled_names

from .needs import needs

MACHINES = Path(__file__).parent / "machines"
RP1 = "/axi/pcie@1000120000/rp1"


def compiled(source: Path, folder: Path, *options: str) -> str:
    """Compile a source with dtc, as a board's maker does."""
    needs("dtc")
    target = folder / f"{source.stem}{'' if options else '.nolabels'}.dtb"
    command = ["dtc", "-q", *options, "-o", str(target), str(source)]
    subprocess.run(command, check=True)
    return str(target)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trees")


@pytest.fixture(scope="module")
def board(folder: Path) -> str:
    """A Raspberry Pi's tree, with labels."""
    return compiled(MACHINES / "raspberry_pi.dts", folder, "-@")


@pytest.fixture(scope="module")
def overlay(folder: Path) -> str:
    return compiled(MACHINES / "rtc_overlay.dts", folder, "-@")


def read(path: str, *overlays: str) -> DeviceTree:
    tree = discovery.device_tree(path, overlays)
    assert tree is not None
    return tree


def unpack(tree: DeviceTree, root: Path) -> Path:
    """The tree as the kernel shows it: a folder a node, a file a property."""
    base = root / "proc/device-tree"
    for node in tree:
        place = base / node.path.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        for name, value in {**node.properties, "name": b"kernel\0"}.items():
            (place / name).write_bytes(value)
    return root


# ---- what is in a tree --------------------------------------------------------------------------


def test_nodes_are_found_by_path_alias_and_label(board: str) -> None:
    tree = read(board)
    assert tree.model == "Raspberry Pi 5 Model B Rev 1.0"
    node = tree.find("i2c1")
    assert node is tree.find("&i2c1") is tree.find(f"{RP1}/i2c@74000")
    assert tree.names(node) == ["i2c1"]
    assert (node.name, node.compatible) == ("i2c@74000", ("snps,designware-i2c",))
    assert node.cells("clock-frequency") == (100000,)
    assert tree.aliases["serial0"] == f"{RP1}/serial@30000"
    assert tree.symbols["uart10"] == "/soc@107c000000/serial@7d001000"
    assert [n.path for n in tree.compatible("arm,pl011-axi")] == [f"{RP1}/serial@30000"]
    assert tree.by_phandle(node.phandle) is node
    with pytest.raises(KeyError, match='find "i2c9"'):
        tree.find("i2c9")


def test_addresses_take_the_cells_of_the_bus_above(board: str) -> None:
    tree = read(board)
    assert tree.find("i2c1").reg == ((0xC0_4007_4000, 0x1000),)
    assert tree.find("uart10").reg == ((0x7D00_1000, 0x200),)
    assert tree.find(f"{RP1}/spi@50000/spidev@0").reg == ((0, 0),)


@pytest.mark.parametrize("cells", [b"\0\0\0\1", b"\0\0\0\4", b"\0\0\0\5"])
def test_addresses_that_do_not_fit_are_none(cells: bytes) -> None:
    above = TreeNode("/", {"#address-cells": cells, "#size-cells": b"\0\0\0\1"})
    assert TreeNode("/x", {"reg": bytes(12)}, above).reg == ()


def test_disabled_nodes_say_how_to_enable_them(board: str) -> None:
    tree = read(board)
    assert [node.name for node in tree.disabled()] == ["i2c@70000", "i2c@74000", "pwm@98000"]
    why, steps = tree.explain(tree.find("i2c1"))
    assert why == 'i2c@74000 is disabled in the device tree: status = "disabled"'
    assert [step.split()[0] for step in steps[:2]] == ["dtparam=i2c=on", "dtparam=i2c_arm=on"]
    assert '&i2c1 { status = "okay"; };' in steps[2]
    assert tree.explain(tree.find("uart0")) == ("", [])
    assert "failed" in tree.explain(tree.find("pwm0"))[0]


def test_what_is_below_a_disabled_node_is_disabled_by_it() -> None:
    root = TreeNode("/", {"compatible": b"nvidia,p3768\0nvidia,tegra234\0"})
    bus = TreeNode("/bus", {"compatible": b"simple-bus\0", "status": b"disabled\0"}, root)
    spi = TreeNode("/bus/spi", {"compatible": b"x\0", "status": b"ok\0"}, bus)
    tree = DeviceTree("made up", {node.path: node for node in (root, bus, spi)})
    assert [node.path for node in tree.disabled()] == ["/bus"]
    why, steps = tree.explain(spi)
    assert why.startswith("bus is disabled")
    assert "jetson-io" in steps[0]
    assert "&{/bus}" in steps[1]


# ---- where it comes from ------------------------------------------------------------------------


def test_a_folder_and_a_file_give_the_same_tree(board: str, tmp_path: Path) -> None:
    tree = read(board)
    root = unpack(tree, tmp_path)
    same = discovery.device_tree(root=str(root))
    assert disabled_names(str(root)) == [node.name for node in tree.disabled()]
    assert same is not None
    assert set(same.nodes) == set(tree.nodes)
    for node in tree:
        values = dict(same.nodes[node.path].properties)
        assert values.pop("name") == b"kernel\0"
        assert values == node.properties
        assert same.nodes[node.path].reg == node.reg


def test_overlays_are_merged(board: str, overlay: str) -> None:
    before = Path(board).read_bytes()
    tree = read(board, overlay)
    assert tree.find("i2c1").okay
    assert tree.find("i2c1").path == f"{RP1}/i2c@74000"
    assert tree.compatible("bosch,bme280")[0].reg == ((0x76, 0),)
    assert tree.overlays == (overlay,)
    assert Path(board).read_bytes() == before


def test_libfdts_own_tool_merges_the_same(board: str, overlay: str, tmp_path: Path) -> None:
    needs("fdtoverlay")
    merged = str(tmp_path / "merged.dtb")
    subprocess.run(["fdtoverlay", "-i", board, "-o", merged, overlay], check=True)
    theirs, ours = read(merged), read(board, overlay)
    assert {n.path: n.properties for n in theirs} == {n.path: n.properties for n in ours}


def test_an_overlay_that_does_not_fit_says_what_is_missing(folder: Path, overlay: str) -> None:
    plain = compiled(MACHINES / "raspberry_pi.dts", folder)
    with pytest.raises(ValueError, match=r"no label i2c1; .*without labels \(dtc -@\)"):
        read(plain, overlay)


def test_overlays_that_the_kernel_applied_are_listed(board: str, tmp_path: Path) -> None:
    root = unpack(read(board), tmp_path)
    for name, status in (("rtc", "applied"), ("empty", "unapplied")):
        place = root / "sys/kernel/config/device-tree/overlays" / name
        place.mkdir(parents=True)
        (place / "status").write_text(f"{status}\n")
    tree = discovery.device_tree(root=str(root))
    assert tree is not None
    assert tree.overlays == ("rtc",)


def test_a_machine_without_a_tree_has_none(tmp_path: Path) -> None:
    assert discovery.device_tree(root=str(tmp_path)) is None


def test_overlays_do_not_go_into_a_folder(board: str, overlay: str, tmp_path: Path) -> None:
    root = unpack(read(board), tmp_path)
    with pytest.raises(ValueError, match="compiled tree"):
        discovery.device_tree(str(root / "proc/device-tree"), [overlay])


def test_without_libfdt_a_folder_is_read_and_a_file_says_what_to_install(
    board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = unpack(read(board), tmp_path)
    monkeypatch.setitem(sys.modules, "libfdt", None)
    tree = discovery.device_tree(root=str(root))
    assert tree is not None
    assert tree.find("i2c1")
    with pytest.raises(ImportError, match=r'pip install "open-autoglm\[devicetree\]"'):
        read(board)


def test_qemus_own_tree(tmp_path: Path) -> None:
    """The tree that a real machine, QEMU's "virt", hands to a kernel."""
    needs("qemu-system-aarch64")
    path = tmp_path / "virt.dtb"
    dump = ["-machine", f"virt,dumpdtb={path}", "-cpu", "cortex-a57", "-display", "none"]
    subprocess.run(["qemu-system-aarch64", *dump], check=True, capture_output=True)
    tree = read(str(path))
    uart = tree.compatible("arm,pl011")[0]
    assert uart.reg == ((0x900_0000, 0x1000),)
    assert tree.find(tree.find("/chosen").text("stdout-path")) is uart
    assert tree.disabled() == []
    assert sum(size for _, size in tree.find("/memory@40000000").reg) == 128 << 20


# ---- what is no tree ----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\xd0\x0d\xfe\xed", b"\x7fELF" + bytes(100)])
def test_a_file_that_is_no_tree_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.dtb"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'read ".*x\.dtb": no device tree \(FDT_ERR_'):
        read(str(path))


def test_the_largest_file(tmp_path: Path) -> None:
    path = tmp_path / "x.dtb"
    with path.open("wb") as file:
        file.truncate(SIZE_MAX + 1)
    with pytest.raises(ValueError, match=f"{SIZE_MAX} at most"):
        read(str(path))
    with path.open("wb") as file:
        file.truncate(SIZE_MAX)
    with pytest.raises(ValueError, match="BADMAGIC"):
        read(str(path))


@pytest.mark.parametrize(
    ("limit", "shape"), [("DEPTH_MAX", "{} node {{ {} }};"), ("NODES_MAX", "{} node@{} {{ }};")]
)
def test_how_deep_and_how_large_a_tree_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, shape: str
) -> None:
    """The root is one node, and one level."""
    monkeypatch.setattr(devicetree, limit, 5)
    for count in (4, 5, 6):
        below = ""
        for number in range(1, count):
            below = shape.format("", below) if "DEPTH" in limit else shape.format(below, number)
        source = tmp_path / f"{count}.dts"
        source.write_text(f"/dts-v1/; / {{ {below} }};")
        path = compiled(source, tmp_path)
        if count <= 5:
            assert len(read(path).nodes) == count
        else:
            with pytest.raises(ValueError, match="nested deeper than"):
                read(path)


def test_a_name_that_is_not_ascii_is_refused(board: str, folder: Path) -> None:
    path = folder / "names.dtb"
    path.write_bytes(Path(board).read_bytes().replace(b"#address-cells", b"\x80address-cells"))
    with pytest.raises(ValueError, match=r"names\.dtb.* not ASCII"):
        read(str(path))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_tree_is_refused_or_read(board: str, folder: Path, data: st.DataObject) -> None:
    blob = bytearray(Path(board).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged.dtb"
    path.write_bytes(blob[: data.draw(st.integers(len(blob) // 2, len(blob)))])
    try:
        tree = read(str(path))
    except ValueError:
        return
    for node in tree:
        assert node.reg is not None
        tree.explain(node)
    assert tree.disabled() is not None
