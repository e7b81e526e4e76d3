"""Parts of a resumed run share equal sections, and are restored completely."""

import json

from hypothesis import given, strategies as st

from lightning_hparams.provenance import shortened_parts, whole_parts

sections = st.dictionaries(
    st.sampled_from(["config", "packages", "status", "data"]),
    st.sampled_from([{}, {"a": 1}, {"a": 2}, [1], "text", None]),
)


@given(st.lists(sections, max_size=6), sections)
def test_shortened_parts_are_restored_completely(parts, last):
    earlier = shortened_parts(parts, last)
    assert whole_parts({**last, "earlier": earlier}) == parts
    assert whole_parts({**last, "earlier": parts}) == parts  # as older versions stored them


def test_the_manifest_of_a_run_resumed_hundreds_of_times_stays_small():
    packages = {f"package {n}": "1.0" for n in range(300)}
    parts = []
    for step in range(300):
        diff = f"{step}" * 100_000
        parts.append({"step": step, "packages": packages, "git": {"diff": diff}})
        last = {"step": step + 1, "packages": packages, "git": {"diff": ""}}
        parts = whole_parts({**last, "earlier": shortened_parts(parts, last)})
    earlier = shortened_parts(parts, last)
    assert [part["step"] for part in earlier] == list(range(200, 300))
    assert len(json.dumps(earlier)) < 1.1 * 2**20
    assert earlier[-1]["git"]["diff"] == diff
    assert whole_parts({**last, "earlier": earlier})[0]["git"] == {"diff": "", "diff_is_cut": True}
    assert whole_parts({**last, "earlier": earlier})[0]["packages"] == packages
