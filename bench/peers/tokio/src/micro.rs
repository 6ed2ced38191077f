//! The micro rows that Tokio has a counterpart for, under the names of the other programs.

use std::future::Future;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long the work took, and how many operations it was.
type Sample = (Duration, u64);

async fn yield_two() -> Sample {
    const N: u64 = 4_000_000;
    async fn half() {
        for _ in 0..N / 2 {
            tokio::task::yield_now().await;
        }
    }
    let begin = Instant::now();
    let (a, b) = (tokio::spawn(half()), tokio::spawn(half()));
    a.await.unwrap();
    b.await.unwrap();
    (begin.elapsed(), N)
}

async fn spawn_and_join() -> Sample {
    const N: u64 = 1_000_000;
    let begin = Instant::now();
    for _ in 0..N / 1000 {
        let mut batch = Vec::with_capacity(1000);
        for _ in 0..1000 {
            batch.push(tokio::spawn(async {}));
        }
        for task in batch {
            task.await.unwrap();
        }
    }
    (begin.elapsed(), N)
}

// Tokio has no unbuffered channel; capacity 1 is the nearest.
async fn ping_pong() -> Sample {
    const N: u64 = 1_000_000;
    let (there, mut there_rx) = mpsc::channel::<u64>(1);
    let (back, mut back_rx) = mpsc::channel::<u64>(1);
    let echo = tokio::spawn(async move {
        while let Some(value) = there_rx.recv().await {
            back.send(value).await.unwrap();
        }
    });
    let begin = Instant::now();
    for i in 0..N {
        there.send(i).await.unwrap();
        back_rx.recv().await.unwrap();
    }
    let elapsed = begin.elapsed();
    drop(there);
    echo.await.unwrap();
    (elapsed, N)
}

async fn buffered() -> Sample {
    const N: u64 = 4_000_000;
    let (tx, mut rx) = mpsc::channel::<u64>(128);
    let begin = Instant::now();
    let producer = tokio::spawn(async move {
        for i in 0..N {
            tx.send(i).await.unwrap();
        }
    });
    while rx.recv().await.is_some() {}
    let elapsed = begin.elapsed();
    producer.await.unwrap();
    (elapsed, N)
}

async fn report<Work: Future<Output = Sample>>(wanted: &[String], name: &str, work: Work) {
    if wanted.is_empty() || wanted.iter().any(|w| w == name) {
        let (elapsed, n) = work.await;
        println!(
            "{:<28} {:>10.1} ns/op",
            name,
            elapsed.as_nanos() as f64 / n as f64
        );
    }
}

pub async fn run(wanted: Vec<String>) {
    report(&wanted, "yield(2 goroutines)", yield_two()).await;
    report(&wanted, "spawn+exit", spawn_and_join()).await;
    report(&wanted, "chan pingpong (roundtrip)", ping_pong()).await;
    report(&wanted, "chan buffered 128 spsc", buffered()).await;
}
