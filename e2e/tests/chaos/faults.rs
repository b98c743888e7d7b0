//! The faults: how each begins and ends.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyperfarm_e2e::proxy::HttpFault;
use serde_json::Value;

use crate::RECOVERY;
use crate::compositions::{self, End};
use crate::farm::{COORDINATORS, Farm, STITCHERS, WORKER_OF_SMALL_DISK, WORKERS, names, send};
use crate::load::{Load, Render};

/// Longest time until a render that is looked for is under way.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// How long a failure of an attempt is looked for after its cause. A lost lease is one after 8 s.
const SEEN_WITHIN: Duration = Duration::from_secs(15);

/// What faults act on.
pub(crate) struct Chaos {
    pub(crate) farm: Farm,
    pub(crate) load: Load,
    pub(crate) random: fastrand::Rng,
    /// How long faults last, as a share of their full length.
    pub(crate) scale: f64,
    /// Whether processes are killed while another fault lasts.
    pub(crate) is_mixed: bool,
}

/// What a fault did, for the report; `None` if it cannot be had on this machine.
pub(crate) type Note = Option<String>;

/// A fault.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Chaos) -> Note,
    /// Whether it is part of the short form.
    pub(crate) is_short: bool,
}

const fn fault(name: &'static str, run: fn(&mut Chaos) -> Note) -> Fault {
    Fault { name, run, is_short: false }
}

const fn short(name: &'static str, run: fn(&mut Chaos) -> Note) -> Fault {
    Fault { name, run, is_short: true }
}

/// Every fault.
pub(crate) const FAULTS: &[Fault] = &[
    short("worker killed", |chaos| chaos.kill_one(&WORKERS)),
    fault("worker stopped", |chaos| chaos.stop_one(&WORKERS)),
    fault("worker drained", |chaos| chaos.drain_one(&WORKERS)),
    fault("stitcher killed", |chaos| chaos.kill_one(&STITCHERS)),
    fault("stitcher stopped", |chaos| chaos.stop_one(&STITCHERS)),
    fault("stitcher drained", |chaos| chaos.drain_one(&STITCHERS)),
    short("leading coordinator killed", |chaos| chaos.with_leader(|chaos, leader| chaos.kill_one(&[leader]))),
    fault("leading coordinator stopped", |chaos| chaos.with_leader(|chaos, leader| chaos.stop_one(&[leader]))),
    fault("leading coordinator drained", |chaos| chaos.with_leader(|chaos, leader| chaos.drain_one(&[leader]))),
    short("Chrome's browser killed", |chaos| chaos.kill_chrome("browser")),
    fault("Chrome's GPU process killed", |chaos| chaos.kill_chrome("gpu-process")),
    fault("Chrome's renderer killed", |chaos| chaos.kill_chrome("renderer")),
    short("Redis emptied", |chaos| {
        chaos.farm.redis("FLUSHALL");
        Some(String::new())
    }),
    fault("Redis away", |chaos| chaos.without_server("redis", 30)),
    fault("Redis's master lost to its replica, twice", Chaos::redis_failover),
    fault("RabbitMQ away", |chaos| chaos.without_server("rabbit", 60)),
    short("RabbitMQ's queues purged", |chaos| {
        chaos.farm.purge();
        Some(String::new())
    }),
    fault("S3 slow, 1 s a request", |chaos| chaos.s3(HttpFault::Slow(Duration::from_secs(1)), 60)),
    short("S3 answers 500 to 30 %", |chaos| chaos.s3(HttpFault::Fail(0.3), 60)),
    fault("S3 closes 30 %", |chaos| chaos.s3(HttpFault::Close(0.3), 60)),
    fault("S3 cuts 30 % in mid-body", |chaos| chaos.s3(HttpFault::Cut(0.3), 60)),
    fault("S3 answers 500 to all", |chaos| chaos.s3(HttpFault::Fail(1.0), 60)),
    fault("S3 away", |chaos| chaos.s3(HttpFault::Away, 120)),
    fault("full disk of a worker", Chaos::full_disk),
    fault("worker cut off from Redis", |chaos| chaos.cut_off(false)),
    fault("worker cut off from Redis and RabbitMQ", |chaos| chaos.cut_off(true)),
    fault("poisoned node: S3 answers 500 to it", Chaos::poisoned_node),
    fault("poisoned render: a page hangs", |chaos| {
        let page = compositions::hanging(chaos.farm.cluster.scene());
        chaos.poisoned_render(page)
    }),
    fault("poisoned render: a page crashes", |chaos| {
        let page = compositions::crashing(chaos.farm.cluster.scene());
        chaos.poisoned_render(page)
    }),
    fault("straggler: a worker's Chrome stopped", Chaos::straggler),
    short("pause and cancel through the standby", Chaos::pause_and_cancel),
];

/// The longest outage, once in a run of an hour.
pub(crate) const LONGEST_OUTAGE: Fault = fault("S3 away for ten minutes", |chaos| chaos.s3(HttpFault::Away, 600));

impl Chaos {
    fn one_of(&mut self, names: &[&'static str]) -> &'static str {
        names[self.random.usize(..names.len())]
    }

    /// Lets a fault last. In a mixed run a process may be killed in the middle of it. Returns its name.
    fn last(&mut self, seconds: u64) -> String {
        let time = Duration::from_secs(seconds).mul_f64(self.scale);
        if !self.is_mixed || self.random.bool() {
            std::thread::sleep(time);
            return String::new();
        }
        std::thread::sleep(time / 2);
        let processes: Vec<_> =
            WORKERS.into_iter().chain(STITCHERS).filter(|name| self.farm.cluster.has(name)).collect();
        let name = self.one_of(&processes);
        self.farm.cluster.kill(name);
        std::thread::sleep(time / 2);
        format!("{name} killed meanwhile")
    }

    fn kill_one(&mut self, names: &[&'static str]) -> Note {
        let name = self.one_of(names);
        let now = unix_seconds();
        self.farm.cluster.kill(name);
        std::thread::sleep(Duration::from_secs(1));
        for ended in self.farm.start_missing() {
            self.load.violated(format!("ended by itself: {ended}"));
        }
        Some(format!("{name}{}", self.first_failure(now)))
    }

    /// The first failed or lost attempt after a moment, in words. Coordinators have no attempts; nor has a node without
    /// a task.
    fn first_failure(&self, since: f64) -> String {
        let deadline = Instant::now() + SEEN_WITHIN.mul_f64(self.scale.max(0.3));
        while Instant::now() < deadline {
            for render in self.load.under_way() {
                let path = format!("/v3/hyperframes/renders/{}/timeline", render.id);
                let timeline = self.load.api().get(&render.key, &path).unwrap_or_default();
                for span in timeline["data"]["spans"].as_array().into_iter().flatten() {
                    let ended = span["ended_at"].as_f64().filter(|ended| *ended >= since);
                    if let (Some(ended), Some(code)) = (ended, span["error_code"].as_str()) {
                        return format!("; {code} after {:.1} s", ended - since);
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        String::new()
    }

    fn stop_one(&mut self, names: &[&'static str]) -> Note {
        let name = self.one_of(names);
        self.farm.signal_all(name, "STOP");
        std::thread::sleep(Duration::from_secs(30).mul_f64(self.scale));
        self.farm.signal_all(name, "CONT");
        Some(name.to_owned())
    }

    fn drain_one(&mut self, names: &[&'static str]) -> Note {
        let name = self.one_of(names);
        let began = Instant::now();
        let ended = self.farm.cluster.drain_process(name);
        if !ended.is_some_and(|status| status.success()) {
            self.load.violated(format!("{name}, drained, ended with {ended:?}"));
        }
        Some(format!("{name}, {:.1} s", began.elapsed().as_secs_f64()))
    }

    fn leader(&self) -> Option<usize> {
        self.load.api().leader(self.load.key())
    }

    fn with_leader(&mut self, act: impl Fn(&mut Self, &'static str) -> Note) -> Note {
        let deadline = Instant::now() + UNDER_WAY;
        loop {
            if let Some(leader) = self.leader() {
                return act(self, COORDINATORS[leader]);
            }
            if Instant::now() > deadline {
                self.load.violated("no coordinator leads".to_owned());
                return Some(String::new());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn kill_chrome(&mut self, kind: &str) -> Note {
        let deadline = Instant::now() + UNDER_WAY;
        while Instant::now() < deadline {
            let worker = self.one_of(&WORKERS);
            if let Some(pid) = self.farm.chrome(worker, kind).first() {
                let now = unix_seconds();
                send(*pid, "KILL");
                return Some(format!("{worker}{}", self.first_failure(now)));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(format!("no {kind} was running"))
    }

    fn without_server(&mut self, server: &str, seconds: u64) -> Note {
        self.farm.services.operate(&format!("{server}-stop"));
        let note = self.last(seconds);
        self.farm.services.operate(&format!("{server}-start"));
        Some(note)
    }

    fn redis_failover(&mut self) -> Note {
        let time = Duration::from_secs(20).mul_f64(self.scale);
        self.farm.fail_redis_over(|| std::thread::sleep(time)).map(|()| String::new())
    }

    fn s3(&mut self, fault: HttpFault, seconds: u64) -> Note {
        let all: Vec<_> = names().collect();
        self.farm.fail_s3(&all, fault);
        let note = self.last(seconds);
        self.farm.fail_s3(&all, HttpFault::None);
        Some(note)
    }

    fn full_disk(&mut self) -> Note {
        if !self.farm.fill_disk(true) {
            return None;
        }
        std::thread::sleep(Duration::from_secs(30).mul_f64(self.scale));
        self.farm.fill_disk(false);
        Some(WORKER_OF_SMALL_DISK.to_owned())
    }

    fn cut_off(&mut self, also_rabbit: bool) -> Note {
        let worker = self.one_of(&WORKERS);
        self.farm.cut(worker, true, also_rabbit);
        let began = Instant::now();
        let time = Duration::from_secs(40).mul_f64(self.scale);
        let mut gone = None;
        while began.elapsed() < time {
            if gone.is_none() && self.farm.chrome(worker, "browser").is_empty() {
                gone = Some(began.elapsed().as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.farm.cut(worker, false, also_rabbit);
        let chrome =
            gone.map_or("its Chrome stayed".to_owned(), |gone| format!("its Chrome was gone after {gone:.1} s"));
        Some(format!("{worker}; {chrome}"))
    }

    fn poisoned_node(&mut self) -> Note {
        let worker = self.one_of(&WORKERS);
        self.farm.fail_s3(&[worker], HttpFault::Fail(1.0));
        std::thread::sleep(Duration::from_secs(60).mul_f64(self.scale));
        self.farm.fail_s3(&[worker], HttpFault::None);
        Some(worker.to_owned())
    }

    fn poisoned_render(&mut self, page: compositions::Composition) -> Note {
        let key = self.load.key().to_owned();
        let Some(id) = self.load.submit(&key, &Arc::new(page)) else {
            self.load.violated("a healthy farm refuses a render".to_owned());
            return Some(String::new());
        };
        let open = self.load.wait_for(std::slice::from_ref(&id), RECOVERY);
        if !open.is_empty() {
            self.load.violated(format!("{}: it did not end", open[0].line()));
        }
        let workers = self.load.api().get(hyperfarm_e2e::cluster::KEY, "/v3/hyperframes/workers").unwrap_or_default();
        for worker in workers["data"].as_array().into_iter().flatten().filter(|worker| worker["state"] == "quarantined")
        {
            self.load.violated(format!("{id} put a worker into quarantine: {}", worker["state_reason"]));
        }
        let render = self.load.renders().into_iter().find(|render| render.id == id)?;
        Some(format!("{} after {:.1} s", render.detail["error_code"].as_str().unwrap_or(""), render.seconds()))
    }

    fn straggler(&mut self) -> Note {
        let worker = self.one_of(&WORKERS);
        let chrome = hyperfarm_e2e::scene::descendants(self.farm.cluster.pid(worker));
        chrome.iter().for_each(|pid| send(*pid, "STOP"));
        std::thread::sleep(Duration::from_secs(20).mul_f64(self.scale));
        chrome.iter().for_each(|pid| send(*pid, "CONT"));
        Some(worker.to_owned())
    }

    /// A render of which a chunk is done and another is not.
    fn in_the_middle(&self) -> Option<Render> {
        let deadline = Instant::now() + UNDER_WAY;
        while Instant::now() < deadline {
            let is_in_the_middle = |render: &Render| {
                let progress = &render.detail["progress"];
                let (done, total) = (progress["chunks_done"].as_u64(), progress["chunks_total"].as_u64());
                done >= Some(1) && done.zip(total).is_some_and(|(done, total)| done + 1 < total)
            };
            if let Some(render) = self.load.under_way().into_iter().find(is_in_the_middle) {
                return Some(render);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    fn pause_and_cancel(&mut self) -> Note {
        // The last coordinator is asked first, and leads in one of two runs. Each serves the whole API.
        let mut notes = Vec::new();
        if let Some(render) = self.in_the_middle() {
            let path = format!("/v3/hyperframes/renders/{}", render.id);
            if self.load.api().post(&render.key, &format!("{path}/pause")).is_some() {
                std::thread::sleep(Duration::from_secs(3));
                let detail = self.load.api().get(&render.key, &path).unwrap_or_default();
                if detail["data"]["paused"] != Value::Bool(true) && detail["data"]["status"] == "rendering" {
                    self.load.violated(format!("{}: a pause is ignored", render.line()));
                }
                // A render that has ended meanwhile cannot be resumed.
                let is_open = || self.load.under_way().iter().any(|open| open.id == render.id);
                while self.load.api().post(&render.key, &format!("{path}/resume")).is_none() && is_open() {
                    std::thread::sleep(Duration::from_millis(200));
                }
                notes.push(format!("{} paused", render.composition.name));
            }
        }
        if let Some(render) = self.in_the_middle() {
            let path = format!("/v3/hyperframes/renders/{}", render.id);
            self.load.expect(&render.id, End::Cancelled);
            let began = Instant::now();
            if self.load.api().post(&render.key, &format!("{path}/cancel")).is_some() {
                self.load.wait_for(std::slice::from_ref(&render.id), Duration::from_secs(20));
                notes.push(format!("{} cancelled, {:.1} s", render.composition.name, began.elapsed().as_secs_f64()));
            }
        }
        Some(notes.join("; "))
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
