//! How fast a container may talk: a program that does nothing but write, until its last line is in the log.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use super::figures::{Samples, head};
use super::payload::{LAST_LINE, LINE_BYTES, LINES};
use super::peers::Pair;
use super::processes;

const ROUNDS: usize = 3;
/// How often the writer writes its file.
const REPETITIONS: usize = 10;
const LOOK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn measure(pair: &mut Pair) {
    let (mut rate, mut cpu) = (Samples::default(), Samples::default());
    let script =
        format!("trap 'exit 0' TERM; cat {}; cat /last; sleep 100000 & wait", "/lines ".repeat(REPETITIONS));
    for round in 0..ROUNDS {
        for server in pair.in_turn(round) {
            let client = &mut server.client;
            let busybox = client.image.clone();
            client.image = busybox.replace("busybox:", "lines:");
            let mut pod = client.run(&format!("log{round}")).await;
            client.create(&mut pod, &["sh", "-c", &script]).await;
            let before = processes::cpu(server);
            let began = Instant::now();
            server.client.start(&pod).await;
            last_line(&server.client.log(&pod), began).await;
            rate.push(server, (LINES * REPETITIONS) as f64 / began.elapsed().as_secs_f64() / 1e3);
            cpu.push(server, (processes::cpu(server) - before) * 1e6 / (LINES * REPETITIONS) as f64);
            server.client.take_down(&pod).await;
            let _removed = std::fs::remove_file(server.client.log(&pod));
            server.client.image = busybox;
        }
    }
    head(&format!(
        "Lines of {LINE_BYTES} bytes through the container's log, {} of them",
        LINES * REPETITIONS
    ));
    rate.row("lines per second, from StartContainer to the last in the file (more is better)", "thousand");
    cpu.row("CPU of the server's processes per line", "us");
}

async fn last_line(path: &str, began: Instant) {
    let mut tail = [0; LAST_LINE.len()];
    loop {
        if let Ok(file) = File::open(path)
            && let Some(at) =
                file.metadata().ok().and_then(|found| found.len().checked_sub(tail.len() as u64))
            && file.read_exact_at(&mut tail, at).is_ok()
            && tail == *LAST_LINE
        {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "the last line does not come to {path}");
        tokio::time::sleep(LOOK).await;
    }
}
