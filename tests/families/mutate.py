"""Seeded damage to a model folder: each function takes a folder and a source of chance and spoils one thing."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Mutation = Callable[[Path, random.Random], None]
HUGE: tuple[Any, ...] = (
    2**31,
    2**40,
    2**62,
    2**63,
    2**64,
    10**400,
    -1,
    0,
    1e308,
    3.5,
    True,
    None,
    "8",
    [],
    {},
    "x" * 9,
)


def weights(folder: Path, lot: random.Random) -> Path:
    return lot.choice(sorted(folder.glob("*.safetensors")))


def any_file(folder: Path, lot: random.Random) -> Path:
    return lot.choice(sorted(p for p in folder.iterdir() if p.is_file()))


def flip(path: Path, start: int, stop: int, lot: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(lot.choice((1, 1, 2, 8))):
        data[lot.randrange(start, min(stop, len(data)))] ^= 1 << lot.randrange(8)
    path.write_bytes(data)


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(path: Path, header: dict[str, Any] | bytes, body: bytes) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + body)


def flip_header(folder: Path, lot: random.Random) -> None:
    path = weights(folder, lot)
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    flip(path, 0 if lot.random() < 0.3 else 8, 8 + length, lot)


def flip_data(folder: Path, lot: random.Random) -> None:
    path = weights(folder, lot)
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    flip(path, 8 + length, 1 << 60, lot)


def flip_config(folder: Path, lot: random.Random) -> None:
    flip(folder / "config.json", 0, 1 << 60, lot)


def flip_beside(folder: Path, lot: random.Random) -> None:
    flip(lot.choice(sorted(folder.glob("*.json"))), 0, 1 << 60, lot)


def truncate(folder: Path, lot: random.Random) -> None:
    path = any_file(folder, lot)
    os.truncate(path, lot.randrange(path.stat().st_size))


def extend(folder: Path, lot: random.Random) -> None:
    path = any_file(folder, lot)
    path.write_bytes(path.read_bytes() + lot.randbytes(lot.choice((1, 8, 4096))))


def wrong_length(folder: Path, lot: random.Random) -> None:
    path = weights(folder, lot)
    length = lot.choice((0, 1, 7, 1 << 25, 1 << 40, (1 << 64) - 1, lot.randrange(1 << 16)))
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])


def swap_offsets(folder: Path, lot: random.Random) -> None:
    path = weights(folder, lot)
    header, body = parts(path)
    names = [name for name in header if name != "__metadata__"]
    one, two = lot.sample(names, 2) if len(names) > 1 else (names[0], names[0])
    header[one]["data_offsets"], header[two]["data_offsets"] = header[two]["data_offsets"], header[one]["data_offsets"]
    joined(path, header, body)


def odd_entry(folder: Path, lot: random.Random) -> None:
    """A number of a header made huge, negative, a word; a dtype exchanged; an entry renamed, doubled or taken away."""
    path = weights(folder, lot)
    header, body = parts(path)
    name = lot.choice([n for n in header if n != "__metadata__"])
    kind = lot.randrange(6)
    if kind == 0:
        header[name]["shape"] = [lot.choice(HUGE), *header[name]["shape"]]
    elif kind == 1:
        header[name]["data_offsets"][lot.randrange(2)] = lot.choice(HUGE)
    elif kind == 2:
        header[name]["dtype"] = lot.choice(("I32", "U32", "F16", "F64", "BOOL", "F8_E4M3", "Q4", "", 7, "C64"))
    elif kind == 3:
        header[lot.choice(("../" + name, name + "\x00", "x" * 70000, "model."))] = header.pop(name)
    elif kind == 4:
        header[name + ".copy"] = header[name]
    else:
        del header[name]
    joined(path, header, body)


def many_entries(folder: Path, lot: random.Random) -> None:
    path = weights(folder, lot)
    header, body = parts(path)
    end = len(body)
    more = {f"x{n}": {"dtype": "F32", "shape": [0], "data_offsets": [end, end]} for n in range(lot.choice((10, 3000)))}
    joined(path, {**header, **more}, body)


def doubled(text: str, lot: random.Random) -> str:
    """A JSON object with one of its keys once more."""
    said = json.loads(text)
    key = lot.choice(sorted(said))
    return text.rstrip()[:-1] + "," + json.dumps(key) + ":" + json.dumps(lot.choice(HUGE)) + "}"


def double_key(folder: Path, lot: random.Random) -> None:
    if lot.random() < 0.5:
        path = lot.choice(sorted(folder.glob("*.json")))
        path.write_text(doubled(path.read_text(), lot))
    else:
        path = weights(folder, lot)
        header, body = parts(path)
        joined(path, doubled(json.dumps(header), lot).encode(), body)


def nested(folder: Path, lot: random.Random) -> None:
    depth = lot.choice((100, 1000, 100_000))
    deep = ("[" if lot.random() < 0.5 else '{"a":') * depth
    closed = deep + "1" + ("]" if deep[0] == "[" else "}") * depth if lot.random() < 0.7 else deep
    if lot.random() < 0.5:
        path = lot.choice(sorted(folder.glob("*.json")))
        path.write_text('{"a":' + closed + "," + path.read_text().lstrip()[1:])
    else:
        path = weights(folder, lot)
        header, body = parts(path)
        joined(path, b'{"a":' + closed.encode() + b"," + json.dumps(header).encode()[1:], body)


def walk(value: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key) of a JSON value."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    for key in keys:
        found += [(value, key), *walk(value[key])]
    return found


def odd_config(folder: Path, lot: random.Random) -> None:
    """One value of the configuration exchanged, one key taken away, misspelt or added."""
    path = folder / "config.json"
    said = json.loads(path.read_text())
    holder, key = lot.choice(walk(said))
    kind = lot.randrange(4)
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}_"] = holder.pop(key)
    else:
        holder[key] = lot.choice(HUGE)
    path.write_text(json.dumps(said))


def code_key(folder: Path, lot: random.Random) -> None:
    path = folder / "config.json"
    said = json.loads(path.read_text())
    names = ("auto_map", "trust_remote_code", "_attn_implementation_internal", "_target_", "custom_pipelines")
    holders = [said, *(h[k] for h, k in walk(said) if isinstance(h[k], dict))]
    lot.choice(holders)[lot.choice(names)] = lot.choice(("os.system", {"AutoModel": "evil--x.Y"}, True))
    path.write_text(json.dumps(said))


def odd_tokenizer(folder: Path, lot: random.Random) -> None:
    path = folder / "tokenizer.json"
    said = json.loads(path.read_text())
    holder, key = lot.choice(walk(said)[:400])
    holder[key] = lot.choice(HUGE)
    path.write_text(json.dumps(said))


def odd_bytes(folder: Path, lot: random.Random) -> None:
    path = lot.choice(sorted(folder.glob("*.json")))
    path.write_bytes(
        lot.choice((b"", b"\xff\xfe{}", b"\x80\x04}.", b"[]", b"null", b"{}", b'"x"', b"PK\x03\x04", b"NaN"))
    )


def special_numbers(folder: Path, lot: random.Random) -> None:
    """NaN, infinity and the like in the middle of the weights."""
    path = weights(folder, lot)
    header, body = parts(path)
    at = lot.randrange(len(body) // 4) * 4
    odd = struct.pack("<f", lot.choice((float("nan"), float("inf"), -0.0, 1e-45, 3e38)))
    joined(path, header, body[:at] + odd + body[at + 4 :])


def away(folder: Path, lot: random.Random) -> None:
    """A file that is missing, a link out, a link to itself, a pipe, a folder."""
    path = any_file(folder, lot)
    data = path.read_bytes()
    path.unlink()
    kind = lot.randrange(5)
    if kind == 1:
        outside = folder.parent / f"outside-{folder.name}{path.suffix}"
        outside.write_bytes(data)
        path.symlink_to(lot.choice((outside, Path("..", outside.name), Path("/etc/passwd"))))
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        os.mkfifo(path)
    elif kind == 4:
        path.mkdir()


def shard_map(folder: Path, lot: random.Random) -> None:
    """An index that leads out, to nothing, to another shard, to a pickle."""
    path = folder / "model.safetensors.index.json"
    if not path.exists():
        path.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
        (folder / "model.safetensors").unlink()
        return
    said = json.loads(path.read_text())
    name = lot.choice(sorted(said["weight_map"]))
    others = sorted(set(said["weight_map"].values()))
    said["weight_map"][name] = lot.choice(
        ("../x.safetensors", "/etc/passwd", "..\\x.safetensors", "C:\\x.safetensors", "a/../../x.safetensors", "x.bin",
         "none.safetensors", "", "\x00", 3, None, ["x"], "config.json", *others)
    )  # fmt: skip
    path.write_text(json.dumps(said))


def as_pickle(folder: Path, lot: random.Random) -> None:
    path = weights(folder, lot)
    path.write_bytes(lot.choice((b"\x80\x04cos\nsystem\n(S'true'\ntR.", b"PK\x03\x04" + path.read_bytes())))


MUTATIONS: tuple[Mutation, ...] = (
    flip_header, flip_header, flip_data, flip_config, flip_config, flip_beside, truncate, truncate, extend,
    wrong_length, swap_offsets, odd_entry, odd_entry, many_entries, double_key, nested, odd_config, odd_config,
    odd_config, code_key, odd_tokenizer, odd_bytes, special_numbers, away, away, shard_map, as_pickle,
)  # fmt: skip
