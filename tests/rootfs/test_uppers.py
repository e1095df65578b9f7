"""What the runtime itself put where: to each upper what lies in it, and to none what lies elsewhere."""

from __future__ import annotations

from lxsandbox.rootfs.plan import Plan
from lxsandbox.rootfs.uppers import uppers


def overlay(plan: Plan, path: str, target: str, **more: object) -> None:
    plan.do("overlay", lowers=[plan.tree(path, idmap=True)], target=target, **more)


def test_each_upper_lies_over_the_trees_of_its_step_in_the_order_of_init() -> None:
    plan = Plan()
    plan.tree("/of/something/else", idmap=False)
    lowers = [plan.tree(path, idmap=True) for path in ("/layers/2", "/layers/1")]
    plan.do("overlay", lowers=lowers)
    overlay(plan, "/usr", "/usr")

    root, usr = uppers(plan, [], [])

    assert (root.target, [tree["path"] for tree in root.lowers]) == ("/", ["/layers/2", "/layers/1"])
    assert (usr.target, [tree["path"] for tree in usr.lowers]) == ("/usr", ["/usr"])


def test_what_an_upper_holds_from_the_start_was_made_by_the_runtime() -> None:
    plan = Plan()
    overlay(plan, "/", "/", upper=[("absent", "etc/gshadow", 0, ""), ("file", "etc/hosts", 0o644, "text")])

    (root,) = uppers(plan, [], [])

    assert root.made == {"etc/gshadow": ("absent", 0, ""), "etc/hosts": ("file", 0o644, "text")}


def test_a_root_that_is_no_overlay_has_an_upper_with_nothing_below() -> None:
    plan = Plan()
    plan.do("root_from_work")
    plan.do("link", path="/bin", target="usr/bin")
    plan.do("folder", path="/root", mode=0o700)

    (root,) = uppers(plan, [], [])

    assert (root.target, root.lowers) == ("/", [])
    assert root.made == {"bin": ("link", 0, "usr/bin"), "root": ("folder", 0o700, "")}


def test_what_init_writes_when_the_root_stands_comes_with_its_folders() -> None:
    plan = Plan()
    overlay(plan, "/layer", "/")

    (root,) = uppers(plan, [("/etc/hosts", "text", 0o644)], [])

    assert root.made == {"etc": ("folder", -1, ""), "etc/hosts": ("file", 0o644, "text")}


def test_a_mount_point_belongs_to_the_upper_that_shows_closest_above_it() -> None:
    plan = Plan()
    overlay(plan, "/", "/", upper=[("empty", "root", 0o700, "")])
    overlay(plan, "/usr", "/usr")
    overlay(plan, "/usr2", "/usr2")

    root, usr, other = uppers(plan, [], ["/", "/usr", "/usr2", "/usr/local/lib", "/root/a/b"])

    assert root.made == {
        "usr": ("mount", 0, ""),
        "usr2": ("mount", 0, ""),
        "root": ("empty", 0o700, ""),
        "root/a": ("folder", -1, ""),
        "root/a/b": ("mount", 0, ""),
    }
    assert usr.made == {"local": ("folder", -1, ""), "local/lib": ("mount", 0, "")}
    assert other.made == {}


def test_what_was_made_under_a_later_mount_is_covered_by_it() -> None:
    plan = Plan()
    overlay(plan, "/layer", "/")
    plan.do("folder", path="/tmp", mode=0o1777)

    assert uppers(plan, [], [])[0].made == {"tmp": ("folder", 0o1777, "")}
    assert uppers(plan, [], ["/tmp"])[0].made == {"tmp": ("mount", 0, "")}
