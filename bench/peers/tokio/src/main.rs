//! Tokio's side of the benchmarks.
//!
//!     tokiopeer micro [NAME...]    the micro rows, or those named, on one thread
//!     tokiopeer echo WORKERS PORT  an echo server; 0 workers: the current-thread runtime

mod echo;
mod micro;

use tokio::runtime::{Builder, Runtime};

fn runtime(workers: usize) -> Runtime {
    let mut builder = if workers == 0 {
        Builder::new_current_thread()
    } else {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(workers);
        builder
    };
    builder.enable_all().build().expect("the runtime starts")
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["micro", ref names @ ..] => {
            let names = names.iter().map(|name| name.to_string()).collect();
            // Spawned, so that the measuring task is scheduled like any other.
            runtime(0).block_on(async { tokio::spawn(micro::run(names)).await.unwrap() })
        }
        ["echo", workers, port] => {
            let workers = workers.parse().expect("WORKERS is a number");
            let port = port.parse().expect("PORT is a number");
            runtime(workers).block_on(echo::serve(port));
        }
        _ => {
            eprintln!("usage: tokiopeer micro [NAME...] | tokiopeer echo WORKERS PORT");
            std::process::exit(2);
        }
    }
}
