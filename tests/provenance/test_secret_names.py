import pytest

from lightning_hparams.provenance import sounds_secret


@pytest.mark.parametrize(
    "name",
    [
        *("pw", "db_pw", "userPw", "creds", "passcode", "pin", "otp", "psk", "tokens", "api_keys"),
        *(
            "DB_PASS_PROD",
            "password2",
            "token_1",
            "clientKeyData",
            "X-Api-Key",
            "sessionId",
            "id_token",
        ),
        *("connectionString", "aws.key", "ACCESS_TOKENS", "authToken", "webhookUrl", "app_key"),
    ],
)
def test_names_of_secrets_are_recognised(name):
    assert sounds_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("pin_memory", "pw_conv", "tokenizer", "sync_token_every", "max_tokens", "special_tokens"),
        *(
            "ssh_public_key",
            "primary_key",
            "cache_key",
            "keyword",
            "api_keyword",
            "passes",
            "bypass",
        ),
        *("forward_pass", "compass", "spinner", "opinion", "author", "creditor", "keypoints"),
        *("monkey", "n_token", "vocab_tokens", "patch_token", "cookiecutter"),
    ],
)
def test_other_names_are_not_taken_for_secrets(name):
    assert not sounds_secret(name)
