from hypothesis import given, strategies as st

from lightning_hparams.search.names import short_names

PART = st.sampled_from(["model", "init_args", "callbacks", "lr", "OneCycle", "a"])
KEYS = st.lists(st.lists(PART, min_size=1, max_size=5).map(".".join), unique=True, max_size=8)


@given(KEYS)
def test_short_names_tell_all_keys_apart(keys):
    names = short_names(keys)
    assert list(names) == keys
    assert len(set(names.values())) == len(keys)
