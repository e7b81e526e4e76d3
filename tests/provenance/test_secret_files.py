import subprocess

import pytest

from lightning_hparams.provenance import redact
from tests.provenance.secret_forms import MARK, patch


@pytest.mark.parametrize(
    "name",
    [
        *(".env", "a/.env.local", "prod.env", ".netrc", "_netrc", ".pgpass", "cert.pem", "key.ppk"),
        *(
            "id_rsa",
            "a/id_ed25519",
            ".aws/credentials",
            "kubeconfig",
            ".kube/config",
            "x.kubeconfig",
        ),
        *(".git-credentials", ".npmrc", ".pypirc", "credentials.json", "my-credentials.yaml"),
        *("secrets.toml", "app-secret.yml", "secrets.prod.yaml", "prod.tfvars", ".htpasswd"),
        *("service-account.json", "gcp_service_account_prod.json", "a.p12", "vault_pass.txt"),
    ],
)
def test_changes_to_a_file_of_secrets_are_omitted(name):
    assert MARK not in redact(patch(name, f"anything {MARK}"), {})
    assert name in redact(patch(name, f"anything {MARK}"), {})


@pytest.mark.parametrize(
    "name",
    [
        *(
            "train.py",
            "environment.yml",
            "env.py",
            ".env.example",
            "keys.py",
            "secrets.py",
            "README",
        ),
        *(
            "password_head.py",
            "tokenizer.json",
            "configs/credentials_off/model.yaml",
            "a/secret/b.py",
        ),
    ],
)
def test_changes_to_other_files_stay(name):
    text = patch(name, "anything else")
    assert redact(text, {}) == text


def test_a_kubernetes_secret_is_a_file_of_secrets():
    text = patch("a.yaml", "apiVersion: v1", "kind: Secret", "x:", f"  y: {MARK}")
    assert MARK not in redact(text, {})


def test_the_rest_of_the_patch_can_be_applied(tmp_path):
    kept = (
        patch("a.txt", "new")
        .replace("--- a/a.txt", "--- /dev/null")
        .replace("index 1..2 100644", "new file mode 100644")
        .replace("-1,0", "-0,0")
        .replace("+1,1", "+1")
    )
    text = redact(patch(".env", f"A={MARK}") + kept + patch("k.pem", MARK), {})
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "apply"], input=text, text=True, check=True)
    assert (tmp_path / "a.txt").read_text() == "new\n"
