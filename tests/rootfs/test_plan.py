"""What a root is made of, planned from made-up facts: nothing here looks at the host."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lxsandbox.rootfs.plan import HostFacts, ImageRoot, Layered, Plan, Slice, plan, sources
from lxsandbox.spec import Bind, SandboxSpec, Tmpfs
from lxsandbox.syscalls.mounts import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY

MIB = 1 << 20
HOST = ImageRoot(layers=None)
LAYERS = ImageRoot(layers=("/store/upper", "/store/lower"))
QUIET = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
SHADOW = ("/etc/shadow", "root:*:::::::\n", 0o640)


def facts(*existing: str, **changes: Any) -> HostFacts:
    fields: dict[str, Any] = {"idmap": True, "whole_root": True, "single_id": False, "existing": frozenset(existing)} | changes
    return HostFacts(**fields)


def as_plain_user(*slices: Slice, existing: tuple[str, ...] = ()) -> HostFacts:
    return facts(*existing, idmap=False, whole_root=False, slices=slices)


def made(spec: SandboxSpec | None = None, *, image: ImageRoot = LAYERS, host: HostFacts | None = None, **options: Any) -> Plan:
    options = {"disk_bytes": 64 * MIB, "visible": {}, **options}
    return plan(image, spec or SandboxSpec(), facts() if host is None else host, **options)


def steps(of: Plan, kind: str) -> list[dict[str, Any]]:
    return [step for step in of.steps if step["do"] == kind]


def at(of: Plan, target: str) -> dict[str, Any]:
    """The one step that mounts something at `target`."""
    (found,) = [step for step in of.steps if step.get("target") == target]
    return found


def names(of: Plan) -> list[str]:
    return [step["do"] for step in of.steps]


def test_what_a_sandbox_writes_goes_to_memory_of_bounded_size_and_number() -> None:
    first = made().steps[0]

    assert first == {"do": "work_in_memory", "size": 64 * MIB, "inodes": 16384}


def test_what_a_sandbox_writes_may_go_to_a_folder_on_disk() -> None:
    planned = made(scratch="/runs/x/scratch/a")

    assert planned.steps[0] == {"do": "work_in_tree", "tree": 0}
    assert planned.trees[0]["path"] == "/runs/x/scratch/a"


def test_layers_are_stacked_in_their_order_with_their_owners_shifted() -> None:
    planned = made()

    (overlay,) = steps(planned, "overlay")
    assert [planned.trees[index]["path"] for index in overlay["lowers"]] == ["/store/upper", "/store/lower"]
    assert all(tree["idmap"] for tree in planned.trees)


def test_an_image_without_tmp_gets_one_that_all_may_write_to() -> None:
    assert {"do": "folder", "path": "/tmp", "mode": 0o1777} in made().steps


def test_the_hosts_root_is_one_overlay_with_one_more_for_each_disk_below() -> None:
    planned = made(image=HOST, host=facts(submounts=("/usr", "/usr/local")))

    overlays = steps(planned, "overlay")
    assert [step.get("target", "/") for step in overlays] == ["/", "/usr", "/usr/local"]
    assert [planned.trees[step["lowers"][0]]["path"] for step in overlays] == ["/", "/usr", "/usr/local"]


def test_secrets_on_a_file_system_of_their_own_are_covered_too() -> None:
    planned = made(image=HOST, host=facts("/var/backups", submounts=("/var",)))

    assert at(planned, "/var")["upper"] == [("absent", "backups", 0, "")]


SNAPSHOT = ImageRoot(layers=("/store/layer",), over_host=True)


def over_layers(*slices: Slice, **layered: Layered) -> Plan:
    found = {f"/{name}": each for name, each in layered.items()}
    host = facts("/etc/gshadow", "/root", slices=slices, layered=found)
    return made(image=SNAPSHOT, host=host, files=[SHADOW, ("/etc/hostname", "box", 0o644)])


def test_what_the_host_hides_lies_between_its_files_and_the_layers() -> None:
    planned = over_layers(Slice(path="/etc", kind="overlay"), etc=Layered(kind="folder", parts=("/store/layer/etc",)))

    step = at(planned, "/etc")
    assert [planned.trees[tree]["path"] for tree in step["lowers"]] == ["/store/layer/etc", "/etc"]
    assert {path for _, path, _, _ in step["veil"]} == {"gshadow", "shadow"}
    assert [path for _, path, _, _ in step["upper"]] == ["hostname"]


def test_what_layers_have_in_a_hidden_folder_shows_alone() -> None:
    planned = over_layers(Slice(path="/root", kind="folder"), root=Layered(kind="folder", parts=("/store/layer/root",)))

    assert [planned.trees[tree]["path"] for tree in at(planned, "/root")["lowers"]] == ["/store/layer/root"]


def test_what_layers_have_removed_or_replaced_is_not_shown() -> None:
    opaque = Layered(kind="folder", parts=("/store/layer/opt",), alone=True)
    planned = over_layers(
        Slice(path="/srv", kind="overlay"),
        Slice(path="/opt", kind="overlay"),
        srv=Layered(kind="absent"),
        opt=opaque,
        new=Layered(kind="link", target="opt"),
    )

    assert not [step for step in planned.steps if step.get("target") == "/srv"]
    assert [planned.trees[tree]["path"] for tree in at(planned, "/opt")["lowers"]] == ["/store/layer/opt"]
    assert {"do": "link", "path": "/new", "target": "opt"} in planned.steps


def test_secrets_of_the_host_are_covered_before_the_root_is_seen() -> None:
    host = facts(
        "/root", "/home", "/etc/ssl/private", "/etc/gshadow", "/etc/ssh/ssh_host_rsa_key", folder_modes={"/etc/ssl": 0o751}
    )
    planned = made(image=HOST, host=host, files=[SHADOW])

    upper = {path: (kind, mode, text) for kind, path, mode, text in steps(planned, "overlay")[0]["upper"]}
    assert upper["root"] == ("empty", 0o700, "")
    assert upper["home"] == ("empty", 0o755, "")
    assert upper["etc/ssl/private"][0] == upper["etc/gshadow"][0] == upper["etc/ssh/ssh_host_rsa_key"][0] == "absent"
    assert upper["etc/shadow"] == ("file", 0o640, "root:*:::::::\n")
    assert upper["etc/ssl"] == ("folder", 0o751, "")


def test_what_the_host_does_not_have_is_not_made() -> None:
    upper = steps(made(image=HOST, host=facts("/root")), "overlay")[0]["upper"]

    assert [entry[1] for entry in upper] == ["root"]


def test_the_parents_of_what_is_covered_come_before_it() -> None:
    host = facts("/var/lib/docker", "/var/lib/private", "/etc/ssl/private")
    paths = [entry[1] for entry in steps(made(image=HOST, host=host, files=[SHADOW]), "overlay")[0]["upper"]]

    for index, path in enumerate(paths):
        parent = path.rpartition("/")[0]
        assert not parent or parent in paths[:index]


def test_a_plain_user_sees_the_host_in_slices() -> None:
    host = as_plain_user(
        Slice(path="/bin", kind="link", target="usr/bin"),
        Slice(path="/usr", kind="overlay"),
        Slice(path="/etc", kind="overlay"),
        Slice(path="/tmp", kind="folder"),
        Slice(path="/srv", kind="folder"),
        Slice(path="/vmlinuz", kind="file"),
        existing=("/etc/gshadow", "/root"),
    )
    planned = made(image=HOST, host=host, files=[SHADOW])

    assert planned.steps[1] == {"do": "root_from_work"}
    assert {"do": "link", "path": "/bin", "target": "usr/bin"} in planned.steps
    assert {"do": "folder", "path": "/tmp", "mode": 0o1777} in planned.steps
    assert {"do": "folder", "path": "/srv", "mode": 0o755} in planned.steps
    assert at(planned, "/usr")["upper"] == []
    assert {entry[1] for entry in at(planned, "/etc")["upper"]} == {"gshadow", "shadow"}
    assert planned.trees[at(planned, "/vmlinuz")["tree"]]["attributes"] == MOUNT_ATTR_RDONLY
    assert not any(tree["idmap"] for tree in planned.trees)


@pytest.mark.parametrize(("mode", "attributes"), [("ro", MOUNT_ATTR_RDONLY), ("rw", 0)])
@pytest.mark.parametrize("folder", [True, False])
def test_a_bind_shows_the_hosts_file_or_folder_without_devices_and_setuid(mode: Any, attributes: int, folder: bool) -> None:
    host = facts("/data/" if folder else "/data")
    planned = made(SandboxSpec(mounts=[Bind("/data", "/mnt", mode)]), host=host)

    step = at(planned, "/mnt")
    assert (step["do"], step["folder"]) == ("bind", folder)
    assert planned.trees[step["tree"]] == {
        "path": "/data", "recursive": True, "idmap": True, "attributes": attributes | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
    }  # fmt: skip


def test_a_copied_folder_is_an_overlay_and_a_copied_file_a_file() -> None:
    planned = made(SandboxSpec(mounts=[Bind("/data", "/d", "copy"), Bind("/file", "/f", "copy")]), host=facts("/data/", "/file"))

    assert (at(planned, "/d")["do"], at(planned, "/f")["do"]) == ("overlay", "copy_file")


def test_the_spec_s_mounts_come_last_and_in_their_order() -> None:
    mounts: list[Bind | Tmpfs] = [Tmpfs("/a", "1M"), Bind("/data", "/a/b"), Tmpfs("/tmp", "1M")]
    planned = made(SandboxSpec(mounts=mounts, read_only=True), host=facts("/data/"))

    assert [step["target"] for step in planned.steps[-3:]] == ["/a", "/a/b", "/tmp"]


def test_a_tmpfs_has_its_size() -> None:
    step = at(made(SandboxSpec(mounts=[Tmpfs("/cache", "5M")])), "/cache")

    assert (step["do"], step["kind"]) == ("mount", "tmpfs")
    assert ("size", str(5 * MIB)) in step["options"]


def test_a_read_only_root_has_a_tmp_and_a_run_to_write_to() -> None:
    assert {at(made(SandboxSpec(read_only=True)), target)["do"] for target in ("/tmp", "/run")} == {"show_work"}
    assert not [step for step in made().steps if step.get("target") in ("/tmp", "/run")]


def test_with_new_files_on_disk_what_must_be_in_memory_has_a_file_system_of_its_own() -> None:
    planned = made(SandboxSpec(read_only=True, scratch="disk"), scratch="/scratch")

    assert {at(planned, target)["kind"] for target in ("/dev/shm", "/tmp", "/run")} == {"tmpfs"}


def test_the_hosts_network_brings_the_hosts_sysfs_since_a_fresh_one_is_refused() -> None:
    planned = made(SandboxSpec(network="host"))

    assert at(planned, "/sys") == {
        "do": "bind_own", "source": "/sys", "target": "/sys", "recursive": True, "attributes": QUIET | MOUNT_ATTR_RDONLY,
    }  # fmt: skip


def test_nesting_leaves_proc_unmasked() -> None:
    host = facts("/proc/kcore", "/proc/sys")

    for spec, masked in ((SandboxSpec(network="host"), True), (SandboxSpec(network="host", nesting=True), False)):
        planned = made(spec, host=host)
        assert ({"do": "mask", "path": "/proc/kcore"} in planned.steps) is masked
        assert ({"do": "protect", "path": "/proc/sys"} in planned.steps) is masked


def test_sysctls_are_set_after_proc_is_there_and_before_it_is_protected() -> None:
    planned = made(SandboxSpec(sysctls={"net.core.somaxconn": "12"}), host=facts("/proc/sys"))

    proc = planned.steps.index(at(planned, "/proc"))
    sysctl = planned.steps.index({"do": "sysctl", "name": "net.core.somaxconn", "value": "12"})
    assert proc < sysctl < planned.steps.index({"do": "protect", "path": "/proc/sys"})


def test_devices_are_the_hosts_own() -> None:
    assert at(made(SandboxSpec(devices=["/dev/fuse"]), host=facts("/dev/fuse")), "/dev/fuse")["do"] == "bind_own"


def test_a_shown_folder_is_read_only_and_a_project_copied() -> None:
    planned = made(image=HOST, visible={"/root/venv": "ro", "/home/me/project": "copy"})

    venv = at(planned, "/root/venv")
    assert planned.trees[venv["tree"]]["attributes"] & MOUNT_ATTR_RDONLY
    assert at(planned, "/home/me/project")["do"] == "overlay"


def test_other_images_are_shown_nothing_of_the_host() -> None:
    assert not [step for step in made(visible={"/root/venv": "ro"}).steps if step.get("target") == "/root/venv"]


def test_a_single_id_needs_no_group_of_terminals() -> None:
    def group(single: bool) -> list[str]:
        planned = made(SandboxSpec(network="host"), host=facts(single_id=single))
        return [value for name, value in at(planned, "/dev/pts")["options"] if name == "gid"]

    assert (group(True), group(False)) == ([], ["5"])


def test_a_plan_is_the_same_each_time_and_fit_for_the_wire() -> None:
    spec = SandboxSpec(mounts=[Tmpfs("/x"), Bind("/data", "/y")], sysctls={"net.core.somaxconn": "12"}, read_only=True)
    first, second = (made(spec, image=HOST, host=facts("/data/", "/root"), files=[SHADOW]) for _ in range(2))

    assert (first.steps, first.trees) == (second.steps, second.trees)
    assert json.loads(json.dumps(first.trees)) == first.trees
    assert json.dumps(first.steps)


def test_every_tree_of_a_plan_is_used() -> None:
    spec = SandboxSpec(mounts=[Bind("/data", "/y"), Bind("/file", "/z", "copy")])
    planned = made(spec, image=HOST, host=facts("/data/", "/file", submounts=("/usr",)), visible={"/root/venv": "ro"})

    used = {step["tree"] for step in planned.steps if "tree" in step}
    used |= {tree for step in planned.steps for tree in step.get("lowers", ())}
    assert used == set(range(len(planned.trees)))


def test_the_sources_of_a_spec_are_its_binds_and_devices() -> None:
    spec = SandboxSpec(mounts=[Bind("/data", "/y"), Tmpfs("/x")], devices=["/dev/fuse"])

    assert sources(spec) == ["/data", "/dev/fuse"]
