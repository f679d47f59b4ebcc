//! Policies that change while the engine runs: in force within two seconds, whole or not at all.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use flyball::policies::{PolicyFiles, follow};
use tempfile::TempDir;

use crate::world::{POLICY, World};

/// Longer than a change may take: two seconds.
const PATIENCE: Duration = Duration::from_secs(3);

async fn following(folder: &Path) -> World {
    let world = World::new().await;
    let files = PolicyFiles::at(folder);
    let (set, seen) = files.load().unwrap();
    world.engine.policies.store(set.into());
    tokio::spawn(follow(files, seen, world.engine.clone()));
    world
}

/// Names and error of `GET /v1/policies`.
async fn shown(world: &World) -> (Vec<String>, String) {
    let shown = world.get("/v1/policies").await;
    let names =
        shown["policies"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    (names, shown["error"].as_str().unwrap_or_default().to_owned())
}

/// Waits until what is shown is as wanted, for as long as a change may take.
async fn within(world: &World, names: &[&str], error: &str) {
    let mut last = (Vec::new(), String::new());
    let asked = async {
        loop {
            last = shown(world).await;
            if last.0 == names && (last.1.is_empty() == error.is_empty()) && last.1.contains(error) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let shown = tokio::time::timeout(PATIENCE, asked).await.is_ok();
    assert!(shown, "{last:?} instead of {names:?} and {error:?}");
}

fn policy(name: &str) -> String {
    POLICY.replace("restart-on-leak", name)
}

#[tokio::test(start_paused = true)]
async fn a_change_is_in_force_and_a_bad_one_is_not() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, policy("first")).unwrap();
    let world = following(folder.path()).await;
    within(&world, &["first"], "").await;
    let before = world.engine.policies.load().digest.clone();

    fs::write(&file, policy("second")).unwrap();
    within(&world, &["second"], "").await;
    assert_ne!(world.engine.policies.load().digest, before);

    // Refused whole: not even the good file beside it counts.
    fs::write(folder.path().join("b.yaml"), policy("third")).unwrap();
    fs::write(&file, policy("second").replace("cause", "cuase")).unwrap();
    within(&world, &["second"], "unknown field").await;
    fs::write(&file, policy("second")).unwrap();
    within(&world, &["second", "third"], "").await;

    // An empty folder is no set either.
    fs::remove_file(&file).unwrap();
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    within(&world, &["second", "third"], "no policies").await;
    fs::write(&file, policy("fourth")).unwrap();
    within(&world, &["fourth"], "").await;
}

/// The kubelet writes a ConfigMap into a folder of its own and swaps the link to it: the files' own links stay as they are.
#[tokio::test(start_paused = true)]
async fn a_config_map_that_is_swapped_is_seen() {
    let folder = TempDir::new().unwrap();
    let version = |name: &str, policy: &str| {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("policy.yaml"), policy).unwrap();
    };
    version("..1", &policy("first"));
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/policy.yaml", folder.path().join("policy.yaml")).unwrap();
    let world = following(folder.path()).await;
    within(&world, &["first"], "").await;

    version("..2", &policy("second"));
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    fs::remove_dir_all(folder.path().join("..1")).unwrap();
    within(&world, &["second"], "").await;
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let folder = TempDir::new().unwrap();
    let file = fs::File::create(folder.path().join("big.yaml")).unwrap();
    file.set_len(100 << 20).unwrap();
    let error = PolicyFiles::at(folder.path()).load().unwrap_err().to_string();
    assert!(error.contains("the file has 104857600 bytes, more than the 1048576 allowed"), "{error}");
}
