//! The NATS server: it answers, it keeps its port and store, and it can be hurt.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use flyball_devcluster::{NatsOptions, NatsServer, can_run};

/// Opens a connection and returns the server's greeting, or the error of a server that does not greet in time.
fn greet(nats: &NatsServer) -> std::io::Result<(TcpStream, String)> {
    let socket = TcpStream::connect(("127.0.0.1", nats.port()))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut greeting = String::new();
    BufReader::new(socket.try_clone()?).read_line(&mut greeting)?;
    Ok((socket, greeting))
}

#[test]
fn it_survives_kills_stops_and_restarts() {
    if !can_run() {
        return;
    }
    let nats = NatsServer::start().unwrap();
    let (url, store) = (nats.url(), nats.store());
    assert!(greet(&nats).unwrap().1.contains("\"jetstream\":true"));

    nats.kill().unwrap();
    assert!(greet(&nats).is_err());
    nats.restart().unwrap();
    assert_eq!((nats.url(), nats.store()), (url, store));
    greet(&nats).unwrap();

    nats.stop().unwrap();
    assert!(greet(&nats).is_err(), "a stopped server greeted");
    nats.cont().unwrap();
    greet(&nats).unwrap();

    nats.terminate().unwrap();
    assert!(nats.server().pid().is_none());
    nats.restart().unwrap();
    greet(&nats).unwrap();
}

#[test]
fn its_configuration_can_be_added_to() {
    if !can_run() {
        return;
    }
    let options = NatsOptions {
        jetstream: "sync_interval: always".into(),
        config: "authorization { user: a, password: b }".into(),
    };
    let nats = NatsServer::start_with(&options).unwrap();
    let (mut socket, greeting) = greet(&nats).unwrap();
    assert!(greeting.contains("\"auth_required\":true"));
    socket.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).unwrap();
    assert!(answer.contains("Authorization Violation"), "{answer}");
}

#[test]
fn a_configuration_that_is_wrong_is_said() {
    if !can_run() {
        return;
    }
    let options = NatsOptions { config: "no_such_option: 1".into(), ..NatsOptions::default() };
    let error = NatsServer::start_with(&options).unwrap_err();
    assert!(format!("{error:#}").contains("no_such_option"), "{error:#}");
}
