//! What the kernel says about the servers' processes: memory and processor time.

use std::time::{Duration, Instant};

use anyhow::Context;

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(5);
/// A process that used at most [`IDLE_TICKS_MAX`] in so long is idle.
const IDLE_WINDOW: Duration = Duration::from_millis(250);
/// Ticks of 10 ms: a heartbeat is no work.
const IDLE_TICKS_MAX: u64 = 1;
/// Longest wait for a process to become idle.
const IDLE_WAIT_MAX: Duration = Duration::from_secs(60);

/// Most memory that a process had resident since [`forget_peak`] or its start, in bytes.
pub(crate) fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("{path} is gone"))?;
    peak_of(&status).with_context(|| format!("{path} names no VmHWM"))
}

/// Begins to count the peak anew from what is resident now (`clear_refs`, proc(5)).
pub(crate) fn forget_peak(pid: u32) -> anyhow::Result<()> {
    const FORGET_PEAK: &str = "5";
    let path = format!("/proc/{pid}/clear_refs");
    std::fs::write(&path, FORGET_PEAK).with_context(|| format!("{path} cannot be written"))
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Whether there is such a process.
pub(crate) fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Processor time that a process used so far, in ticks of 10 ms.
pub(crate) fn ticks(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("{path} is gone"))?;
    ticks_of(&stat).with_context(|| format!("{path} is not understood"))
}

fn ticks_of(stat: &str) -> Option<u64> {
    // The name in brackets may hold spaces. After it: state, then fields 4 and on; utime is 14, stime 15.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Seconds from `since` until the process was idle, and the processor seconds that it used from now on.
pub(crate) async fn until_idle(pid: u32, since: Instant) -> anyhow::Result<(f64, f64)> {
    let first = ticks(pid)?;
    let mut looks = vec![(Instant::now(), first)];
    loop {
        tokio::time::sleep(LOOK).await;
        let now = (Instant::now(), ticks(pid)?);
        looks.push(now);
        let idle_from = looks
            .iter()
            .find(|(_, used)| now.1.saturating_sub(*used) <= IDLE_TICKS_MAX)
            .map_or(now.0, |(at, _)| *at);
        let used = f64::from(u32::try_from(now.1 - first)?) / 100.0;
        if now.0 - idle_from >= IDLE_WINDOW {
            return Ok(((idle_from - since).as_secs_f64(), used));
        }
        anyhow::ensure!(
            since.elapsed() < IDLE_WAIT_MAX,
            "the process did not become idle within {IDLE_WAIT_MAX:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_is_read() {
        assert_eq!(
            peak_of("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t  1024 kB\n"),
            Some(1 << 20)
        );
        assert_eq!(peak_of("Name:\tx\n"), None);
        assert!(peak_bytes(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn processor_time_is_read_past_a_name_with_brackets() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5 1 1";
        assert_eq!(ticks_of(stat), Some(300));
        assert_eq!(ticks_of("7 (x"), None);
        ticks(std::process::id()).unwrap();
    }

    #[test]
    fn an_idle_process_is_seen_to_be_idle() {
        let mut sleeper = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (seconds, used) = runtime
            .block_on(until_idle(sleeper.id(), Instant::now()))
            .unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(seconds < 0.2 && used < 0.2, "{seconds} {used}");
    }
}
