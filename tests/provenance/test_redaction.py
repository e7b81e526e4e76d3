import base64
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from lightning_hparams.provenance import redact, sounds_secret
from tests.provenance.secret_forms import COMMON, FORMS, INNOCENT

SECRETS = {
    "GITHUB_TOKEN": "ghp_0123456789",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
    "DB_PASSWORD": 'quote"d\\secret',
    "SMTP_PASS": "hunter2!",
    "SSH_PRIVATE_KEY": "-----BEGIN-----\nMIIEowIBAAKCAQEA\n-----END-----",
    "WANDB_API_KEY": "wandbwandbwandb",
    "HOME": "/home/me",
    "OMP_NUM_THREADS": "2",
}
HIDDEN = [value for name, value in SECRETS.items() if name not in ("HOME", "OMP_NUM_THREADS")]


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)


@given(
    st.recursive(
        st.text(max_size=8) | st.sampled_from(HIDDEN),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    ),
    st.sampled_from(HIDDEN),
)
def test_secrets_of_the_environment_are_hidden_everywhere(value, secret):
    found = redact({"config": value, "text": f"before {secret} after", secret: 1}, SECRETS)
    text = str(list(strings(found)))
    assert not [s for s in HIDDEN if s in text]
    assert "MIIEowIBAAKCAQEA" not in text


@pytest.mark.parametrize(
    "value",
    [
        "--token=abcd",
        "curl --password abcd x",
        ["train.py", "api_key=abcd", "hub.token=abcd", "+wandb.api_key=abcd"],
        ["train.py", "-token", "abcd"],
        "https://me:abcd@host/repo.git",
        "https://me:p@abcd@host/x",
        "postgresql://u:ab/abcd@host/db",
        "https://host/x?access_token=abcd&sig=abcd",
        "https://hooks.slack.com/services/T0/B0/abcd",
        "Authorization: Bearer abcd",
        "curl -H 'Authorization: Bearer abcd' x",
        'API_KEY = "abcd"',
        'api_key: str = "abcd"',
        'os.environ["HF_TOKEN"] = "abcd"',
        '"TOKEN = \\"abcd\\""',
        "{'hf_token': 'abcd'}",
        "+HF_TOKEN=abcd1234\n+export AWS_SECRET_ACCESS_KEY=abcd",
        "+password: not abcd but abcd",
        "+-----BEGIN RSA PRIVATE KEY-----\n+abcd\n+-----END RSA PRIVATE KEY-----",
        "------BEGIN PRIVATE KEY-----\n-abcd\n------END PRIVATE KEY-----",
        "sk-proj-abcd0123456789abcdef0123",
        {"pass": "abcd", "pwd": "abcd", "dbPass": "abcd", "webhook_url": "abcd"},
        {"storage_options": {"key": "abcd"}, "o": [{"auth": "abcd"}]},
        {"storage_options.key": "abcd", "db.dsn": "abcd", "x.key": "abcd", "x.secret": "abcd"},
        {"note": "ghp_abcd0123456789", "token_2": "abcd0123456789abcd"},
    ],
)
def test_secrets_are_recognised_without_the_environment(value):
    text = str(redact(value, {}))
    assert "abcd" not in text
    assert "<hidden>" in text


def test_a_secret_may_be_a_number():
    assert redact({"password": 12345678}, {}) == {"password": "<hidden>"}
    assert redact({"use_token": True, "token": None}, {}) == {"use_token": True, "token": None}


@pytest.mark.parametrize(
    "value",
    [
        {"tokenizer": "bert", "max_tokens": 512, "num_keys": 3, "key": 4, "author": "me"},
        {"token_mixer": "pool", "cls_token": "mean", "image_key": "image", "low_pass": 0.2},
        ["train.py", "--lr", "0.1", "--keypoints", "17", "--passes=3", "sort_key=name"],
        ["train.py", "--use-token", "--lr", "0.1"],
        {"model": "hf_visiontransformerbase", "estimator": "sk-learn-random-forest-2"},
        "a --learning-rate 0.1 https://host:8080/path@v1",
        "diff --git a/x.py b/x.py\n-token = tokens.next()\n+def f(token: str, password=password):",
    ],
)
def test_values_with_similar_names_stay(value):
    environ = {"HOME": "train", "PWD": "https", "OLDPWD": "17", "MODE": "bert", "PASS": "rate"}
    assert redact(value, environ) == value


def test_a_short_secret_is_hidden_only_as_a_whole_word():
    environ = {"POSTGRES_PASSWORD": "test", "DB_PASS": "python"}
    assert redact("pytest python pythonic", environ) == "pytest <hidden> pythonic"


def test_a_patch_distinguishes_source_code_from_configuration():
    patch = "diff --git a/{0} b/{0}\n--- a/{0}\n+++ b/{0}\n+token = abcd\n"
    code, settings = patch.format("train.py"), patch.format("settings.toml")
    hidden = settings.replace("abcd", "<hidden>")
    assert redact(code + settings + code, {}) == code + hidden + code


def seconds(text):
    start = time.process_time()
    redact({"some_key": text}, {"TOKEN": "abcdefgh"})
    return time.process_time() - start


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "a",
            "a-",
            "a.",
            "a=",
            "://:",
            " ",
            "-",
            '"',
            "\\",
            "\n",
            "$5$",
            "a:",
            "u:p@",
            "<a>",
            "[",
        ),
        *(
            'token="',
            "token=[",
            "token=(",
            "token={{ ",
            "token='\\",
            "token:\n ",
            "key=",
            "%26token",
        ),
        *("eyJ-", "sk-", "xoxb-", "-----BEGIN PRIVATE KEY-----", "Private-Lines: 1\n", "$2b$12$"),
        *(
            "https://x/hooks/",
            "https://x/services/",
            "--token ",
            "--a b ",
            "name: token,",
            "login a ",
        ),
        *(
            "mysql -u ",
            "Bearer ",
            "password is ",
            "a:5432:b:",
            "data:\n",
            " data:\n  a: b\n",
            "'a' ",
        ),
        *("diff --git a/.env b/.env\n", "secret set a ", "'--token' ", "token=Bearer ", "A9/+" * 9),
    ],
)
def test_time_is_linear_in_the_length_of_the_text(unit):
    """Best of several tries: at 8 times the length, quadratic time grows 64 times."""
    small, large = (unit * (length // len(unit)) for length in (6_000, 48_000))
    ratios = (seconds(large) / max(seconds(small), 1e-3) for _ in range(5))
    assert any(ratio < 24 for ratio in ratios)


def test_a_megabyte_of_a_patch_is_searched_to_the_end():
    code = "+    loss = self.loss(batch['image'], key=value)  # a line of code\n" * 8000
    head = "diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1,0 +1,16002 @@\n"
    text = f"{head}{code}+token = 'abcd1234'\n{code}"
    assert len(text) > 2**20
    assert redact(text, {}) == text.replace("abcd1234", "<hidden>")


def strings_of(value):
    return value if isinstance(value, str) else json.dumps(value)


def test_no_common_form_leaks():
    leaks = [form for form, secret in COMMON if secret in strings_of(redact(form, {}))]
    assert leaks == []


def test_hardly_any_form_leaks():
    """Each form contains its secret, so it cannot pass for lack of one."""
    assert len(FORMS) > 300
    assert [form for form, secret in FORMS if secret not in strings_of(form)] == []
    leaks = [form for form, secret in FORMS if secret in strings_of(redact(form, {}))]
    assert leaks == []


def test_redacting_twice_changes_nothing():
    for form, _ in FORMS:
        once = redact(form, {})
        assert redact(once, {}) == once


def test_harmless_texts_stay():
    assert len(INNOCENT) > 40
    assert [text for text in INNOCENT if redact(text, {}) != text] == []


@pytest.mark.parametrize("before", ["", "u", "me", "user:"])
def test_a_secret_of_the_environment_is_hidden_in_other_spellings(before):
    secret = 'p@ss/w0rd "x" and more'
    encoded = base64.b64encode(f"{before}{secret}!".encode()).decode()
    texts = [quote(secret, safe=""), json.dumps({"note": secret}), encoded]
    hidden = redact(texts, {"DB_PASSWORD": secret})
    assert all("<hidden>" in text for text in hidden)
    assert "w0rd" not in str(hidden)


@given(st.text(alphabet="aB_-. 1", max_size=20))
def test_everything_nested_under_a_secret_name_is_hidden(name):
    nested = redact({"token": {name: "x"}, name: {"token": "x"}}, {})
    assert nested["token"] == "<hidden>"
    assert sounds_secret(f"token.{name}")


def test_sizes_and_counts_stay_and_numeric_passwords_do_not():
    values = {
        "low_pass_width": 6,
        "bypass_weight": 0.1,
        "n_token": 512,
        "num_pass": 3,
        "shared": {"attn": {"key": "rope"}},
        "password": 12345678,
    }
    assert redact(values, {}) == {**values, "password": "<hidden>"}
