from hypothesis import given, strategies as st

from lightning_hparams.tags import told_apart, writable

names = st.lists(st.sampled_from(["a", "a #2", "a #3", "b", ""]), max_size=12)


@given(names)
def test_no_two_names_are_the_same_and_the_first_of_each_keeps_its_own(given_names):
    apart = told_apart(given_names)
    assert len(set(apart)) == len(given_names)
    for name in set(given_names):
        assert apart[given_names.index(name)] == name


@given(st.text(st.characters()))
def test_every_name_can_be_written(text):
    assert writable(text).encode() or not text
    assert writable(writable(text)) == writable(text)


def test_names_that_differ_are_not_written_alike():
    assert len({writable(text) for text in ("\ud800", "\ud801", "?", "")}) == 4
