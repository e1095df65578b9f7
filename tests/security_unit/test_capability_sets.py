"""Names and numbers of capabilities, and the changes that a spec makes to the default set."""

import subprocess
import sys
from pathlib import Path

import pytest

from lxsandbox.errors import SpecError
from lxsandbox.security import capabilities, masks
from lxsandbox.security.capabilities import DEFAULT, NESTING, NUMBERS, mask, resolve


def test_the_numbers_are_those_of_the_kernel_header():
    known = {"CHOWN": 0, "SETPCAP": 8, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_CHROOT": 18, "SYS_PTRACE": 19, "SYS_ADMIN": 21}
    known |= {"MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31, "SYSLOG": 34, "PERFMON": 38, "BPF": 39, "CHECKPOINT_RESTORE": 40}

    assert {name: NUMBERS[name] for name in known} == known
    assert len(NUMBERS) == 41


def test_the_default_set_is_small_and_holds_no_power_over_the_host():
    names = {name for name, number in NUMBERS.items() if number in DEFAULT}

    assert names == {
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP"),
        *("SETUID", "SYS_CHROOT", "AUDIT_WRITE", "MKNOD"),
    }


@pytest.mark.parametrize("change", ["+SYS_PTRACE", "SYS_PTRACE", "sys_ptrace", "+CAP_SYS_PTRACE", "cap_sys_ptrace"])
def test_a_capability_is_added_by_any_spelling_of_its_name(change):
    assert resolve([change], nesting=False) == DEFAULT | {19}


def test_changes_apply_in_the_order_given():
    assert resolve(["-ALL", "+CHOWN"], nesting=False) == {0}
    assert resolve(["+ALL", "-CHOWN"], nesting=False) == set(range(1, 41))
    assert resolve(["+CHOWN", "-ALL"], nesting=False) == frozenset()


def test_nesting_adds_what_mounts_need_and_can_be_taken_back():
    assert resolve([], nesting=True) == DEFAULT | NESTING
    assert NUMBERS["SYS_ADMIN"] not in resolve(["-SYS_ADMIN"], nesting=True)


def test_a_misspelt_capability_is_refused_with_the_near_names():
    with pytest.raises(SpecError, match=r"\+SYS_PTRAC\b") as caught:
        resolve(["+SYS_PTRAC"], nesting=False)

    assert "SYS_PTRACE" in caught.value.hint


def test_the_mask_has_bit_n_for_capability_n():
    assert mask([]) == 0
    assert mask([0, 21, 40]) == 1 | 1 << 21 | 1 << 40
    assert mask(DEFAULT) == 0xA80405FB & ~(1 << 13)


def test_masked_paths_are_absolute_and_plain():
    for path in (*masks.MASKED, *masks.READ_ONLY):
        assert path.startswith(("/proc/", "/sys/"))
        assert ".." not in path
    assert not set(masks.MASKED) & set(masks.READ_ONLY)


def test_the_modules_of_the_spawner_stay_light():
    runtime = Path(capabilities.__file__).parents[2]
    script = f"""
import sys
sys.path.insert(0, {str(runtime)!r})
import __future__, collections.abc, lxsandbox
before = set(sys.modules)
import lxsandbox.security.capabilities, lxsandbox.security.masks
print(*sorted(set(sys.modules) - before))
"""

    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) == {
        "lxsandbox.security",
        "lxsandbox.security.capabilities",
        "lxsandbox.security.masks",
    }
