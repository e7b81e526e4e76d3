from hypothesis import given, strategies as st

from lightning_hparams.tags import unique_names, writable

names = st.lists(st.sampled_from(["a", "a #2", "a #3", "b", ""]), max_size=12)


@given(names)
def test_names_become_unique_and_the_first_of_each_stays_unchanged(given_names):
    apart = unique_names(given_names)
    assert len(set(apart)) == len(given_names)
    for name in set(given_names):
        assert apart[given_names.index(name)] == name


@given(st.text(st.characters()))
def test_every_name_can_be_encoded(text):
    assert writable(text).encode() or not text
    assert writable(writable(text)) == writable(text)


def test_different_names_are_written_differently():
    assert len({writable(text) for text in ("\ud800", "\ud801", "?", "")}) == 4
