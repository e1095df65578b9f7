"""What a registry says with a refusal is understood as far as it makes sense."""

from __future__ import annotations

import pytest

from lxsandbox.images.registry.failures import Subject, refusal


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("120", 120),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("\u0663", None),
        ("9" * 5000, 999_999_999),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 +999999999999", None),
    ],
)
def test_how_long_to_wait_is_seconds_or_a_date_or_not_said(header: str, seconds: float | None) -> None:
    error = refusal(Subject("registry.example", "team/app"), "blob x", 429, {"Retry-After": header}, b"")

    assert error.retry_after_seconds == seconds
