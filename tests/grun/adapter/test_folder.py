"""Damage to an adapter folder: every kind is refused with one clear line."""

import json
import shutil

import pytest

import grun


def damage_config(change):
    """Return a damage that makes `change` to adapter.json."""

    def damage(folder):
        stored = json.loads((folder / "adapter.json").read_text())
        change(stored)
        (folder / "adapter.json").write_text(json.dumps(stored))

    return damage


def updated(**values):
    """Return a damage that puts these values into adapter.json."""
    return damage_config(lambda stored: stored.update(values))


def flip_bit(folder):
    """One bit of the last number."""
    numbers = bytearray((folder / "adapter.safetensors").read_bytes())
    numbers[-1] ^= 1
    (folder / "adapter.safetensors").write_bytes(numbers)


DAMAGE = {
    "no folder": (shutil.rmtree, "no such folder"),
    "no adapter.json": (lambda folder: (folder / "adapter.json").unlink(), "holds no adapter.json"),
    "no weights": (
        lambda folder: (folder / "adapter.safetensors").unlink(),
        "is missing: the adapter is incomplete",
    ),
    "truncated": (
        lambda folder: (folder / "adapter.safetensors").write_bytes(
            (folder / "adapter.safetensors").read_bytes()[:-8]
        ),
        "damaged or was changed",
    ),
    "tampered": (flip_bit, "damaged or was changed"),
    "broken json": (
        lambda folder: (folder / "adapter.json").write_text('{"layers": [1,'),
        "is not valid JSON",
    ),
    "no object": (
        lambda folder: (folder / "adapter.json").write_text("[]"),
        "a list where a dict is expected",
    ),
    "older": (
        updated(format=1),
        "adapter format 1; this version reads 2: older adapters are not read, train it again",
    ),
    "newer": (updated(format=99), "adapter format 99; this version reads"),
    "key missing": (
        damage_config(lambda stored: stored.pop("layers")),
        "is damaged: layers is missing",
    ),
    "digest missing": (
        damage_config(lambda stored: stored.pop("sha256")),
        "is damaged: sha256 is missing",
    ),
    "unknown key": (updated(colour="red"), "is damaged: colour is no key"),
    "no fingerprint": (updated(base={"id": "x"}), "is damaged: base.fingerprint is missing"),
    "another base": (
        damage_config(lambda stored: stored["base"].update(fingerprint="0-0")),
        "belongs to the base model x .fingerprint 0-0., not to this one",
    ),
    "a wrong type": (updated(rank="four"), "is damaged: rank is 'four'"),
    "another rank": (updated(rank=3), "do not fit adapter.json"),
    "another gate": (updated(gate="mlp_3"), "do not fit adapter.json"),
    "another layer": (updated(layers=[1, 2]), "do not fit adapter.json"),
    "no such layer": (updated(layers=[1, 4]), "4 is outside this model's 0..3"),
    "odd policy": (updated(edit_policy={"colour": 1}), "is damaged: edit_policy.colour"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_in_one_line(model, saved, kind):
    damage, message = DAMAGE[kind]
    damage(saved)
    with pytest.raises(ValueError, match=message) as error:
        grun.load(model, saved)
    assert "\n" not in str(error.value) and not hasattr(model, "grun")
