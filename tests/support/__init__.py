"""Real projects, real stores, real servers, and real things that fail on demand: what the tests stand on."""

import pytest

pytest.register_assert_rewrite("support.bench", "support.journal", "support.project")
