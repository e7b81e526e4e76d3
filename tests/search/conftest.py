"""What the tests of searches share: databases to keep studies in."""

import pytest

from tests.search.postgres import server


@pytest.fixture(scope="session")
def new_postgres_url():
    with server() as new:
        yield new


@pytest.fixture
def postgres_url(new_postgres_url):
    """URL of an empty database on a PostgreSQL server of this machine."""
    return new_postgres_url()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_url(request, tmp_path):
    """URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    return request.getfixturevalue("postgres_url")
