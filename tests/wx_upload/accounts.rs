//! Whose token it is: one that was fetched for another account is not used.

use std::cell::Cell;

use serde_json::{Value, json};
use stand_in::{APPID, SECRET, Step};

use crate::harness::{Ran, World, not_under_wine, read_line};

const OTHER: &str = "wxfedcba9876543210";

/// A world whose config has a token that the stand-in takes, and these other keys.
fn world_with_token(other_keys: Value) -> World {
    let world = World::with_files(&["a.txt"]);
    world.save_token("saved-token", other_keys);
    world
}

/// Whether a run uses the saved token, with this `WX_APPID`. If not, it must fetch one for its own
/// account and save that.
fn uses_saved_token(world: &World, appid: &str) -> bool {
    let mut command = world.command(["a.txt"]);
    command.env("WX_APPID", appid);
    world.finish(command).assert_success();
    world.assert_proper();
    let sent = &world.stand_in.requests(Step::Info)[0].target;
    if sent.ends_with("=saved-token") {
        assert_eq!(world.count(Step::Token), 0);
        return true;
    }
    let issued = world.stand_in.tokens_issued();
    assert!(sent.ends_with(&issued[0]), "{sent}");
    let config = world.config();
    assert_eq!(config["access_token"], issued[0]);
    assert_eq!(config["token_appid"], APPID);
    false
}

#[test]
fn a_token_of_another_account_is_not_used() {
    let cases = [
        (json!({ "token_appid": APPID }), "", true),
        (json!({ "token_appid": OTHER }), "", false),
        // The script saves no `token_appid`.
        (json!({}), "", true),
        (json!({ "token_appid": null }), "", true),
        (json!({ "token_appid": "" }), "", true),
        // The account is that of the environment.
        (json!({ "token_appid": OTHER, "appid": null }), APPID, false),
        (json!({ "token_appid": APPID, "appid": "" }), APPID, true),
        // A good token needs no account, so the run may not know its own.
        (
            json!({ "token_appid": APPID, "appid": null, "secret": null }),
            "",
            true,
        ),
    ];
    for (keys, appid, is_used) in cases {
        let world = world_with_token(keys.clone());
        assert_eq!(uses_saved_token(&world, appid), is_used, "{keys} {appid}");
    }
}

#[test]
fn without_a_secret_a_token_of_another_account_is_as_good_as_none() {
    let world = world_with_token(json!({ "token_appid": OTHER, "secret": null }));
    world.assert_refused(&world.run(["a.txt"]), &["`secret` is missing"]);
}

#[test]
fn two_accounts_that_share_a_config_each_use_their_own_token() {
    let world = World::with_files(&["a.txt"]);
    let base = world.stand_in.base();
    world.configure(json!({ "appid": null, "secret": null }));
    let run_for = |appid: &str| {
        let mut command = world.command(["--retries", "0", "a.txt"]);
        command.envs([
            ("WX_APPID", appid),
            ("WX_SECRET", SECRET),
            ("WX_API_BASE", &base),
        ]);
        world.finish(command)
    };
    run_for(APPID).assert_success();
    assert_eq!(world.config()["token_appid"], APPID);
    // The stand-in does not know the other account: it must be asked, not be sent the first token.
    run_for(OTHER).assert_failure(1, &["获取access token失败: errcode 40013 "]);
    assert_eq!((world.count(Step::Token), world.count(Step::Info)), (2, 1));
    run_for(APPID).assert_success();
    assert_eq!((world.count(Step::Token), world.count(Step::Info)), (2, 2));
}

/// Starts a run, and lets `change` change the config while the run waits for its lock.
fn run_while_config_changes(world: &World, change: impl Fn()) -> Ran {
    let lock = world.lock_config();
    let mut child = world.start(["a.txt"]);
    let note = read_line(child.stderr.as_mut().unwrap());
    assert!(note.starts_with("note: waiting for another run"), "{note}");
    change();
    drop(lock);
    world.wait(child)
}

#[test]
fn a_token_that_a_run_for_another_account_saves_meanwhile_is_not_used() {
    if not_under_wine("locks of other programs") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let ran = run_while_config_changes(&world, || {
        world.save_token("saved-token", json!({ "token_appid": OTHER }));
    });
    ran.assert_success();
    assert_eq!(world.count(Step::Token), 1);
    assert_eq!(world.config()["token_appid"], APPID);
    world.assert_proper();
}

#[test]
fn a_config_that_names_another_account_meanwhile_gives_no_token_and_gets_none() {
    if not_under_wine("locks of other programs") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let saved = Cell::new(Value::Null);
    let ran = run_while_config_changes(&world, || {
        // As the script saves it, without `token_appid`.
        world.save_token("saved-token", json!({ "appid": OTHER }));
        saved.set(world.config());
    });
    ran.assert_failure(
        0,
        &[
            "warning: ./config.json: the new token could not be saved, so the next run asks for \
             another: it names another `appid` now",
        ],
    );
    assert_eq!(world.count(Step::Token), 1);
    assert_eq!(world.config(), saved.take());
    world.assert_proper();
}
