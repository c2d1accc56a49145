//! Hosts with several addresses, some of them dead: a connection is made, and the time for the dead
//! ones is spent once.

use std::net::SocketAddr;

use serde_json::json;
use socket2::{Domain, Socket, Type};
use stand_in::{Fault, Step, When};

use crate::harness::{Ran, World, assert_takes, side_by_side};
use crate::unix::{OtherSystem, skipped, with_own_hosts};

/// Makes an address dead, as long as the sockets live: a listener with a full queue, so that the next
/// connection to it hangs.
fn dead(address: SocketAddr) -> std::io::Result<Vec<Socket>> {
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    listener.bind(&address.into())?;
    listener.listen(0)?;
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let client = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        client.connect(&address.into()).ok(); // an error means that it is not connected yet
        sockets.push(client);
    }
    Ok(sockets)
}

/// A world whose API is at `localhost`, with dead addresses at the stand-in's port. `None` if the
/// system lacks one of these addresses.
fn world_with_dead(addresses: &[&str]) -> Option<(World, Vec<Socket>)> {
    let world = World::with_many(4);
    let base = world.stand_in.base();
    let port = base.rsplit(':').next().unwrap();
    let at_name = format!("http://localhost:{port}");
    world.save_token("the-token", json!({ "api_base": at_name }));
    let mut sockets = Vec::new();
    for address in addresses {
        let address = SocketAddr::new(address.parse().unwrap(), port.parse().unwrap());
        match dead(address) {
            Ok(more) => sockets.extend(more),
            Err(_) => {
                skipped(&format!("the address {address}"));
                return None;
            }
        }
    }
    Some((world, sockets))
}

/// Runs the program with these addresses for `localhost`, and checks that all files get there. Returns
/// the seconds. `None` if the program can't be made to see them.
fn seconds_with(world: &World, addresses: &[&str]) -> Option<f64> {
    let system = OtherSystem::with_addresses(addresses)?;
    let mut command = world.command(["--retries", "0", "-j", "1", "files"]);
    system.show_to(&mut command);
    let ran = world.finish(command);
    ran.assert_success();
    Some(ran.elapsed.as_secs_f64())
}

#[test]
fn five_dead_addresses_before_a_good_one_leave_time_for_it() {
    let dead = [
        "127.0.0.2",
        "127.0.0.3",
        "127.0.0.4",
        "127.0.0.5",
        "127.0.0.6",
    ];
    let Some((world, _dead)) = world_with_dead(&dead) else {
        return;
    };
    let addresses = [&dead[..], &["127.0.0.1"]].concat();
    // Each of the dead ones takes a sixth of 10 s.
    if let Some(seconds) = seconds_with(&world, &addresses) {
        assert!(seconds > 8.2, "{seconds}");
    }
}

#[test]
fn after_a_dead_address_of_one_family_the_other_has_its_turn() {
    let Some((world, _dead)) = world_with_dead(&["::1"]) else {
        return;
    };
    let addresses = ["::1", "::1", "::1", "::1", "::1", "127.0.0.1"];
    assert_takes([1.6..5.0], || {
        [seconds_with(&world, &addresses).unwrap_or(2.0)]
    });
}

#[test]
fn an_address_that_worked_is_tried_first_by_the_next_connections() {
    let Some((world, _dead)) = world_with_dead(&["127.0.0.2"]) else {
        return;
    };
    // Each call of the API has a connection of its own.
    for step in [Step::Info, Step::Link] {
        let close = Fault::edit_bytes(|reply| {
            let end_of_line = reply.iter().position(|&byte| byte == b'\n').unwrap();
            let place = end_of_line + 1;
            let header = *b"Connection: close\r\n";
            reply.splice(place..place, header).for_each(drop);
        });
        world.stand_in.fault(step, When::Always, close);
    }
    assert_takes([2.0..4.0], || {
        [seconds_with(&world, &["127.0.0.2", "127.0.0.1"]).unwrap_or(2.0)]
    });
    let has_run = world.requests() > 0; // not where the binary is static
    assert!(!has_run || world.stand_in.connections() > 4);
}

#[test]
fn a_first_address_that_hangs_costs_two_seconds() {
    let Some((world, _dead)) = world_with_dead(&["::1"]) else {
        return;
    };
    world.file("hosts", "::1 localhost\n127.0.0.1 localhost\n");
    let command = world.command(["--retries", "0", "files"]);
    if with_own_hosts(&command).is_none() {
        return;
    }
    assert_takes([2.0..8.0], || {
        let ran = world.finish(with_own_hosts(&command).unwrap());
        ran.assert_success();
        [ran.elapsed.as_secs_f64()]
    });
}

// ---- Name servers that answer one question of two -----------------------------------------------

/// Runs the program where the name server does as the C in `first` says. Returns the result of the run;
/// `None` if the program can't be made to see it.
fn run_with_name_server(world: &World, first: &str) -> Option<Ran> {
    let system = OtherSystem::with_name_server(first, &["127.0.0.1"])?;
    let mut command = world.command(["--retries", "0", "-j", "4", "files"]);
    system.show_to(&mut command);
    Some(world.finish(command))
}

#[test]
fn a_host_is_found_whatever_its_name_server_says_of_the_other_family() {
    let ipv4_alone = "if (!hints || hints->ai_family != AF_INET)";
    let complete = "if (node[strlen(node) - 1] != '.')";
    let both = format!("{ipv4_alone} return EAI_AGAIN; {complete} return EAI_FAIL;");
    let cases = [
        format!("{ipv4_alone} return EAI_AGAIN;"),
        format!("{ipv4_alone} return EAI_NONAME;"),
        format!("{ipv4_alone} return EAI_FAIL;"),
        format!("{ipv4_alone} sleep(30);"),
        format!("{complete} return EAI_AGAIN;"),
        format!("{complete} sleep(30);"),
        both,
    ];
    side_by_side(cases.map(|first| (first.clone(), first)), |first| {
        let Some((world, _)) = world_with_dead(&[]) else {
            return;
        };
        assert_takes([0.0..6.0], || {
            let Some(ran) = run_with_name_server(&world, &first) else {
                return [0.0];
            };
            ran.assert_success();
            [ran.elapsed.as_secs_f64()]
        });
    });
}

/// Each look-up without an answer takes 1 s until the next form begins, and 30 s until it ends.
#[test]
fn the_form_that_found_a_host_comes_first_for_all_threads() {
    let Some((world, _)) = world_with_dead(&[]) else {
        return;
    };
    let close = Fault::headers(&[("Connection", Some("close"))]);
    for step in [Step::Info, Step::Link] {
        world.stand_in.fault(step, When::Always, close.clone());
    }
    assert_takes([1.9..4.0], || {
        let first = "if (!hints || hints->ai_family != AF_INET || node[strlen(node) - 1] != '.') sleep(30);";
        let system = OtherSystem::with_name_server(first, &["127.0.0.1"]);
        let Some(system) = system else {
            return [2.0];
        };
        let mut command = world.command(["--retries", "0", "-j", "1", "files"]);
        system.show_to(&mut command);
        let ran = world.finish(command);
        ran.assert_success();
        [ran.elapsed.as_secs_f64()]
    });
}

#[test]
fn a_name_that_is_not_found_is_told_with_the_name() {
    let Some((world, _)) = world_with_dead(&[]) else {
        return;
    };
    let Some(ran) = run_with_name_server(&world, "return EAI_NONAME;") else {
        return;
    };
    let told =
        "获取文件上传链接失败: localhost: no address found for localhost: is the network up?";
    ran.assert_failure(1, &[told]);
}
