import pytest

pytest.register_assert_rewrite("tests.interop.core", "tests.interop.everything", "tests.interop.wire")
