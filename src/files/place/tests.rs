use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

use super::*;

/// A folder of the test's own, which is removed with it.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().expect("a temporary folder"));
        scratch.folder("", 0o755);
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A folder with exactly this mode.
    fn folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a temporary folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    }
}

fn refusal<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => "it is not refused".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// What each way of writing says of `path`.
fn refusals(path: &Path) -> [String; 4] {
    [
        refusal(check(path)),
        refusal(append(path, 0o600)),
        refusal(create(path, 0o644)),
        refusal(crate::files::atomic::write(path, b"mine\n", 0o644)),
    ]
}

#[test]
fn a_symbolic_link_in_the_place_of_a_file_is_not_followed_and_its_target_is_named() {
    let scratch = Scratch::new();
    let target = scratch.path("target");
    fs::write(&target, "precious").expect("a file");
    let dangling = scratch.path("missing");
    for (name, target) in [("link", &target), ("dangling", &dangling)] {
        let link = scratch.path(name);
        symlink(target, &link).expect("a free place");
        for said in refusals(&link) {
            let wanted = format!("it is a symbolic link to {}", target.display());
            assert!(said.contains(&wanted), "{said}");
            assert!(said.contains("name that file itself"), "{said}");
        }
    }
    assert_eq!(fs::read_to_string(target).ok().as_deref(), Some("precious"));
    assert!(!dangling.exists());
}

#[test]
fn a_folder_that_others_may_write_to_is_refused_wherever_it_is_on_the_way() {
    let scratch = Scratch::new();
    let open = scratch.folder("open", 0o777);
    let deeper = scratch.folder("open/deeper", 0o755);
    let around = scratch.path("around");
    symlink(&deeper, &around).expect("a free place");
    for folder in [&open, &deeper, &around] {
        for said in refusals(&folder.join("file")) {
            let wanted = format!("everybody may write to {}", open.display());
            assert!(said.contains(&wanted), "{said}");
            let remedy = format!("run `chmod o-w {}`", open.display());
            assert!(said.contains(&remedy), "{said}");
        }
        assert!(!folder.join("file").exists());
    }
    scratch.folder("open", 0o755);
    assert_eq!(refusals(&around.join("file")), ["it is not refused"; 4]);
}

#[test]
fn folders_of_this_user_and_a_link_to_one_are_written_to() {
    let scratch = Scratch::new();
    let folder = scratch.folder("folder", 0o700);
    symlink("folder", scratch.path("link")).expect("a free place");
    make_folder(&scratch.path("link/a/b")).expect("it is ours");
    let file = scratch.path("link/a/b/../c/file");
    make_folder(&scratch.path("link/a/c")).expect("it is ours");
    create(&file, 0o644)
        .and_then(|mut file| file.write_all(b"one\n"))
        .expect("it is ours");
    append(&file, 0o644)
        .and_then(|mut file| file.write_all(b"two\n"))
        .expect("it is ours");
    let text = fs::read_to_string(folder.join("a/c/file")).expect("it is written");
    assert_eq!(text, "one\ntwo\n");
}

#[test]
fn a_folder_with_the_sticky_bit_takes_files_of_this_user_under_one_name() {
    let scratch = Scratch::new();
    let folder = scratch.folder("shared", 0o1777);
    let file = folder.join("file");
    assert_eq!(refusals(&file), ["it is not refused"; 4]);
    fs::hard_link(&file, scratch.path("other-name")).expect("one file system");
    let [checked, appended, created, written] = refusals(&file);
    for said in [checked, appended, created, written] {
        assert!(said.contains("several names (hard links)"), "{said}");
    }
}

#[test]
fn files_and_folders_of_other_users_are_refused() {
    let scratch = Scratch::new();
    let theirs = scratch.folder("theirs", 0o755);
    if chown(&theirs, Some(OTHER), Some(OTHER)).is_err() {
        // Only root makes such a folder; the tests of the gateway have it.
        return;
    }
    let said = refusals(&theirs.join("file"));
    for said in said {
        let wanted = format!("{} belongs to user {OTHER}", theirs.display());
        assert!(said.contains(&wanted), "{said}");
        assert!(said.contains("run `chown -h 0 "), "{said}");
    }
    let link = scratch.path("link");
    symlink(scratch.folder("mine", 0o755), &link).expect("a free place");
    std::os::unix::fs::lchown(&link, Some(OTHER), Some(OTHER)).expect("root may");
    assert!(refusal(check(&link.join("file"))).contains("belongs to user"));

    let group = scratch.folder("group", 0o775);
    chown(&group, None, Some(OTHER)).expect("root may");
    let said = refusal(append(&group.join("file"), 0o600));
    assert!(
        said.contains(&format!("group {OTHER} may write to")),
        "{said}"
    );
    assert!(said.contains("run `chmod g-w "), "{said}");

    let shared = scratch.folder("shared", 0o1777);
    let planted = shared.join("file");
    fs::write(&planted, "theirs").expect("a file");
    chown(&planted, Some(OTHER), Some(OTHER)).expect("root may");
    for said in refusals(&planted) {
        assert!(said.contains(&format!("belongs to user {OTHER}")), "{said}");
    }
    assert_eq!(fs::read_to_string(planted).ok().as_deref(), Some("theirs"));
}

#[test]
fn devices_are_written_to_as_they_are() {
    let written = create(Path::new("/dev/null"), 0o644).and_then(|mut it| it.write_all(b"one\n"));
    written.expect("everybody may");
    let said = refusal(append(Path::new("/dev/null"), 0o644));
    assert_eq!(said, "it is not a regular file");
}

/// A user and group that no system has a name for.
const OTHER: u32 = 54_321;

#[test]
fn an_empty_folder_of_this_user_is_closed_to_others_and_no_other_one() {
    let scratch = Scratch::new();
    let mode = |folder: &Path| fs::metadata(folder).expect("it is there").mode() & 0o7777;

    let empty = scratch.folder("empty", 0o2777);
    assert!(claim(&empty).expect("it is ours"));
    assert_eq!(mode(&empty), 0o2755);
    assert!(!claim(&empty).expect("it is ours"), "it is closed already");

    let used = scratch.folder("used", 0o777);
    fs::write(used.join("file"), "somebody's").expect("a file");
    let shared = scratch.folder("shared", 0o1777);
    for kept in [&used, &shared] {
        let before = mode(kept);
        assert!(!claim(kept).expect("it can be read"));
        assert_eq!(mode(kept), before);
    }

    let below = scratch.folder("open/below", 0o777);
    fs::set_permissions(scratch.path("open"), Permissions::from_mode(0o777)).expect("ours");
    let said = refusal(claim(&below));
    assert!(said.contains("everybody may write to"), "{said}");
    assert_eq!(mode(&below), 0o777);
}
