"""Carrying out a plan of mounts in a fresh mount namespace: one function for each kind of step.

Runs in init, before anything of the sandbox runs, as root of the sandbox's user namespace. Every path inside the new root is
resolved by openat2 below the root's descriptor, so that no link of a hostile image leads out of it. What to do in which
order is decided by `plan`; nothing here knows an image or a spec.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence

from lxsandbox.rootfs.targets import make_target, open_folder, parent_and_name, replace_file
from lxsandbox.syscalls import mounts
from lxsandbox.syscalls.files import find, openat2

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from typing import Any

    Entry = tuple[str, str, int, str]  # kind, path, mode, text

__all__ = ["DEV_OPTIONS", "STEPS", "Root", "StepFailed", "apply", "enter", "prepare"]

DEV_OPTIONS = (("size", "65536"), ("nr_inodes", "1024"), ("mode", "0755"))  # the file system of a /dev


class StepFailed(Exception):
    """A step could not be done; `step` is the step, `error` the OSError."""

    def __init__(self, step: "dict[str, Any]", error: OSError) -> None:
        super().__init__(f"{step['do']}: {error.strerror or error}")
        self.step = step
        self.error = error


class Root:
    """A root file system in the making: descriptors of its working area, of its root mount, and of the trees passed in.

    `uppers` are descriptors of the folders that take what is written to it, each with the place where it shows; where there
    is a veil, it follows the upper over it.
    """

    def __init__(self, trees: Sequence[int], prepared: int = -1) -> None:
        self.trees = trees
        self.prepared = prepared
        self.work = -1
        self.top = -1
        self.overlays = 0
        self.uppers: list[tuple[str, int]] = []


def prepare(steps: "Sequence[dict[str, Any]]") -> int:
    """Do the `steps` that every root has in common, below a file system of their own, and return its descriptor.

    Roots made later in this namespace take over what lies there (`adopt`). Its /dev is a folder of that file system, which
    is bounded for it: one file system less, and each one alive takes memory in every memory cgroup. Raises StepFailed.
    """
    area = Root(())
    area.top = area.work = mounts.new_filesystem("tmpfs", DEV_OPTIONS, attributes=mounts.MOUNT_ATTR_NOSUID)
    _cover_root(area.top)
    os.mkdir("empty", dir_fd=area.top)
    _do(area, steps)
    return area.top


def apply(steps: "Sequence[dict[str, Any]]", trees: Sequence[int], prepared: int = -1) -> Root:
    """Do `steps` in order in this mount namespace, whose propagation is private; steps name the mounts `trees` by index.

    Raises StepFailed. The old root is still the root of this process: see `enter`.
    """
    root = Root(trees, prepared)
    _do(root, steps)
    return root


def _do(root: Root, steps: "Sequence[dict[str, Any]]") -> None:
    os.umask(0)  # modes are as the plan has them
    for step in steps:
        arguments = {key: value for key, value in step.items() if key != "do"}
        try:
            STEPS[step["do"]](root, **arguments)
        except OSError as error:
            raise StepFailed(step, error) from error
    os.umask(0o022)


def enter(root: Root) -> None:
    """Make the finished root this process's root, and let go of the host's."""
    os.fchdir(root.top)
    mounts.pivot_root()
    # They lie over the new root now: the working area, under it what was prepared, and under both the host's root.
    for _ in range(2 if root.prepared < 0 else 3):
        mounts.detach(".")
    os.chdir("/")


def _work_in_memory(root: Root, *, size: int, inodes: int) -> None:
    options = [("size", str(size)), ("nr_inodes", str(inodes)), ("mode", "0755")]
    _start_work(root, mounts.new_filesystem("tmpfs", options, attributes=mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV))


def _work_in_tree(root: Root, *, tree: int) -> None:
    _start_work(root, root.trees[tree])


def _cover_root(mount: int) -> None:
    # Over "/": the one folder that is there on every host. Lookups from this process's root still see what is below.
    over = os.open("/", os.O_PATH | os.O_CLOEXEC)
    mounts.move_mount(mount, over)
    os.close(over)


def _start_work(root: Root, mount: int) -> None:
    _cover_root(mount)
    root.work = mount
    os.mkdir("root", dir_fd=mount)
    os.mkdir("empty", dir_fd=mount)


def _root_from_work(root: Root) -> None:
    os.mkdir("top", 0o755, dir_fd=root.work)
    root.top = mounts.open_tree("top", at=root.work)
    _attach_top(root)
    _keep(root, "/", "top", root.work)


def _keep(root: Root, target: str, name: str, above: int) -> None:
    # Reached through the working area's own mount: what is mounted on the root does not cover it there.
    root.uppers.append((target, os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)))


def _overlay(
    root: Root, *, lowers: Sequence[int], target: str = "/", upper: "Sequence[Entry]" = (), veil: "Sequence[Entry]" = ()
) -> None:
    """Stack the trees `lowers` (uppermost first) under a fresh upper, at `target`; `upper` is what it holds from the start.

    `veil` is what a folder holds that lies over the last of the trees and below all others, and hides some of it.
    """
    name = f"overlay{root.overlays}"
    root.overlays += 1
    os.mkdir(name, 0o755, dir_fd=root.work)
    area = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=root.work)
    os.mkdir("upper", 0o755, dir_fd=area)
    os.mkdir("work", 0o755, dir_fd=area)
    for number, lower in enumerate(lowers):
        _attach_lower(root, area, str(number), lower)
    # The upper's own folder is the root that is seen: its mode is the uppermost lower's.
    os.chmod(f"/proc/self/fd/{area}/upper", stat.S_IMODE(os.stat("0", dir_fd=area).st_mode))
    for entry in upper:
        _make_entry(f"/proc/self/fd/{area}/upper/", *entry)
    names = [str(number) for number in range(len(lowers))]
    if veil:
        os.mkdir("veil", stat.S_IMODE(os.stat(names[-1], dir_fd=area).st_mode), dir_fd=area)
        for entry in veil:
            _make_entry(f"/proc/self/fd/{area}/veil/", *entry)
        names.insert(-1, "veil")
    mount = _new_overlay(area, names)
    _keep(root, target, "upper", area)
    if veil:
        _keep(root, target, "veil", area)
    os.close(area)
    if target == "/":
        root.top = mount
        _attach_top(root)
    else:
        _attach(root, mount, target, folder=True)
        os.close(mount)


def _make_entry(upper: str, kind: str, path: str, mode: int, text: str) -> None:
    """Put something into a folder of an overlay to be; in this order its parents come first."""
    match kind:
        case "folder":
            os.mkdir(upper + path, mode)
        case "empty":
            os.mkdir(upper + path, mode)
            # Documentation/filesystems/overlayfs.rst: with userxattr, the opaque mark is user.overlay.opaque.
            os.setxattr(upper + path, "user.overlay.opaque", b"y")
        case "absent":
            os.mknod(upper + path, stat.S_IFCHR, 0)  # a whiteout; nothing inside can bring back what it hides
        case _:
            fd = os.open(upper + path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            os.write(fd, text.encode())
            os.close(fd)


def _attach_lower(root: Root, area: int, name: str, lower: int) -> None:
    os.mkdir(name, dir_fd=area)
    place = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=area)
    mounts.move_mount(root.trees[lower], place)
    os.close(place)


def _new_overlay(area: int, lowers: Sequence[str]) -> int:
    """The detached mount of an overlay over the folders `lowers` in `area`, uppermost first."""
    below = f"/proc/self/fd/{area}"
    places = [("upperdir", f"{below}/upper"), ("workdir", f"{below}/work"), ("userxattr", None)]
    try:
        return mounts.new_filesystem("overlay", [*(("lowerdir+", f"{below}/{name}") for name in lowers), *places])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _old_overlay(area, lowers)


def _old_overlay(area: int, lowers: Sequence[str]) -> int:
    # Before Linux 6.5 all lowers are one option, and fsconfig(2) takes 256 bytes for one: too little for a dozen of them. With
    # paths relative to the working directory the page that mount(2) takes is enough for all that overlayfs stacks.
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(area)
    try:
        os.mkdir("merged")
        mounts.mount_filesystem("overlay", "merged", f"userxattr,lowerdir={':'.join(lowers)},upperdir=upper,workdir=work")
        mount = mounts.open_tree("merged")
        mounts.detach("merged")
        return mount
    finally:
        os.fchdir(before)
        os.close(before)


def _attach_top(root: Root) -> None:
    place = os.open("root", os.O_PATH | os.O_CLOEXEC, dir_fd=root.work)
    mounts.move_mount(root.top, place)
    os.close(place)


def _attach(root: Root, mount: int, target: str, *, folder: bool, links: bool = True) -> None:
    place = make_target(root.top, target, folder=folder, links=links)
    mounts.move_mount(mount, place)
    os.close(place)


def _mount(root: Root, *, kind: str, target: str, options: "Sequence[tuple[str, str | None]]" = (), attributes: int = 0) -> None:
    """A new file system at `target`, which must not be a link: the image has no say in where /proc and /dev are."""
    mount = mounts.new_filesystem(kind, options, attributes=attributes)
    _attach(root, mount, target, folder=True, links=False)
    os.close(mount)


def _show_work(root: Root, *, name: str, mode: int, target: str, attributes: int) -> None:
    """A new folder of the working area at `target`."""
    os.mkdir(name, mode, dir_fd=root.work)
    tree = mounts.open_tree(name, at=root.work)
    mounts.mount_setattr(tree, set_=attributes)
    _attach(root, tree, target, folder=True, links=False)
    os.close(tree)


def _adopt(root: Root, *, target: str) -> None:
    """Take over what `prepare` made for `target`, with all that is mounted on it."""
    tree = mounts.open_tree(target.lstrip("/"), at=root.prepared, recursive=True)
    _attach(root, tree, target, folder=True, links=False)
    os.close(tree)


def _bind(root: Root, *, tree: int, target: str, folder: bool) -> None:
    _attach(root, root.trees[tree], target, folder=folder)


def _bind_own(root: Root, *, source: str, target: str, recursive: bool = False, attributes: int = 0, links: bool = False) -> None:
    """Show `source` of this namespace's old root at `target`."""
    tree = mounts.open_tree(source, recursive=recursive)
    if attributes:
        mounts.mount_setattr(tree, set_=attributes, recursive=recursive)
    _attach(root, tree, target, folder=stat.S_ISDIR(os.stat(source).st_mode), links=links)
    os.close(tree)


def _copy_file(root: Root, *, tree: int, target: str, mode: int = 0, stamp: str = "") -> None:
    """A copy of the file `tree` at `target`: what is written to it stays in the sandbox.

    With a `stamp` it has the same owner and time too: the stamp then tells whether it was changed.
    """
    name = f"file{root.overlays}"
    root.overlays += 1
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=root.work))
    place = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=root.work)
    mounts.move_mount(root.trees[tree], place)
    os.close(place)
    with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root.work), "rb") as source:
        mode = mode or stat.S_IMODE(os.fstat(source.fileno()).st_mode)
        with replace_file(root.top, target, mode) as copy:
            while block := source.read(1 << 20):
                copy.write(block)
            if stamp:
                copy.flush()
                status = os.fstat(source.fileno())
                os.fchown(copy.fileno(), status.st_uid, status.st_gid)
                os.fchmod(copy.fileno(), mode)  # which a change of owner takes bits from
                os.utime(copy.fileno(), ns=(status.st_mtime_ns, status.st_mtime_ns))


def _mask(root: Root, *, path: str) -> None:
    """Hide a file behind /dev/null, or a folder behind an empty one; nothing to do where there is none."""
    place = _existing(root, path)
    if place is None:
        return
    if stat.S_ISDIR(os.fstat(place).st_mode):
        cover = mounts.open_tree("empty", at=root.work)
        mounts.mount_setattr(cover, set_=mounts.MOUNT_ATTR_RDONLY)
    else:
        cover = mounts.open_tree("/dev/null")
    mounts.move_mount(cover, place)
    os.close(cover)
    os.close(place)


def _protect(root: Root, *, path: str) -> None:
    """Make what is at `path` read-only; nothing to do where there is nothing."""
    place = _existing(root, path)
    if place is None:
        return
    tree = mounts.open_tree("", at=place, recursive=True)
    mounts.mount_setattr(tree, set_=mounts.MOUNT_ATTR_RDONLY, recursive=True)
    mounts.move_mount(tree, place)
    os.close(tree)
    os.close(place)


def _existing(root: Root, path: str) -> int | None:
    try:
        return find(root.top, path, links=False)
    except NotADirectoryError:
        return None


def _sysctl(root: Root, *, name: str, value: str) -> None:
    fd = openat2(root.top, "/proc/sys/" + name.replace(".", "/"), os.O_WRONLY, links=False)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _folder(root: Root, *, path: str, mode: int) -> None:
    fd = make_target(root.top, path, folder=True, links=False)
    os.chmod(f"/proc/self/fd/{fd}", mode)
    os.close(fd)


def _have_folder(root: Root, *, path: str) -> None:
    """Make the folder, unless it is there in whatever mode."""
    os.close(make_target(root.top, path, folder=True))


def _link(root: Root, *, path: str, target: str) -> None:
    parent, name = parent_and_name(path)
    folder = open_folder(root.top, parent)
    os.symlink(target, name, dir_fd=folder)
    os.close(folder)


STEPS: "dict[str, Callable[..., None]]" = {
    "work_in_memory": _work_in_memory,
    "work_in_tree": _work_in_tree,
    "root_from_work": _root_from_work,
    "overlay": _overlay,
    "mount": _mount,
    "show_work": _show_work,
    "adopt": _adopt,
    "bind": _bind,
    "bind_own": _bind_own,
    "copy_file": _copy_file,
    "mask": _mask,
    "protect": _protect,
    "sysctl": _sysctl,
    "folder": _folder,
    "have_folder": _have_folder,
    "link": _link,
}
