use super::*;

fn simulated(text: &str) -> Report {
    simulate(&Scenario::parse(text).unwrap()).unwrap()
}

/// The targets of a large farm, at a fifth of its size.
#[test]
fn a_busy_farm_is_used_fully_and_shared_fairly() {
    let report = simulated(
        "seed = 1
         nodes = [{ count = 25, slots = 8 }]
         [[spaces]]
         count = 16
         renders = [{ count = 2, chunks = 120, chunk_seconds = 15, chunk_spread = 0.2 }]
         [[spaces]]
         count = 2
         weight = 2
         renders = [{ count = 2, chunks = 240, chunk_seconds = 15, chunk_spread = 0.2 }]
         [[spaces]]
         renders = [
             { count = 2, chunks = 120, chunk_seconds = 15, chunk_spread = 0.2 },
             { count = 15, first_seconds = 60, every_seconds = 15, priority = 50, chunks = 1, chunk_seconds = 15 },
         ]",
    );
    assert_eq!((report.slots, report.spaces, report.renders_completed), (200, 19, 53), "{report}");
    assert!(report.utilisation.unwrap() >= 0.95, "{report}");
    assert!(report.makespan_ratio.unwrap() <= 1.05, "{report}");
    assert!(report.jain_index.unwrap() >= 0.95 && report.jain_spaces >= 19, "{report}");
    let urgent = &report.waits[0];
    assert_eq!((urgent.priority, urgent.renders), (50, 15));
    assert!(urgent.max_seconds <= report.chunk_median_seconds, "{report}");
}

#[test]
fn every_render_completes_though_attempts_fail_and_workers_crash() {
    let report = simulated(
        "seed = 2
         failure_rate = 0.02
         straggler_rate = 0.05
         straggler_factor = 6
         nodes = [
             { count = 10, slots = 4 },
             { count = 4, slots = 4, leaves_seconds = 40, crash = true },
             { count = 2, slots = 4, leaves_seconds = 50 },
             { count = 3, slots = 4, joins_seconds = 60, speed = 0.5 },
         ]
         [[spaces]]
         count = 4
         renders = [{ count = 6, chunks = 30, chunk_seconds = 10, chunk_spread = 0.2 }]",
    );
    assert_eq!((report.renders_completed, report.renders_failed), (24, 0), "{report}");
    let attempts = &report.attempts;
    assert_eq!(attempts.committed, 720, "each chunk counts once");
    assert!(attempts.failed > 0 && attempts.lost > 0 && attempts.speculative > 0, "{report}");
    assert!(report.makespan_ratio.unwrap() < 2.0, "{report}");
}

#[test]
fn a_scenario_has_the_same_result_each_time() {
    let text = "
        failure_rate = 0.05
        nodes = [{ count = 3, slots = 4 }]
        [[spaces]]
        count = 5
        renders = [{ count = 4, every_seconds = 7, chunks = 9, chunk_seconds = 3, chunk_spread = 0.5 }]";
    let without_cost =
        |report: Report| Report { scheduler: SchedulerCost { cpu_us_per_chunk: 0.0, ..report.scheduler }, ..report };
    assert_eq!(without_cost(simulated(text)), without_cost(simulated(text)));
}

#[test]
fn a_farm_without_workers_for_the_rest_stops_at_the_limit() {
    let report = simulated(
        "limit_seconds = 300
         nodes = [{ count = 1, slots = 2, leaves_seconds = 20 }]
         [[spaces]]
         renders = [{ chunks = 10, chunk_seconds = 8 }]",
    );
    assert_eq!((report.renders_completed, report.makespan_bound_seconds), (0, None), "{report}");
    assert_eq!(report.attempts.committed, 6, "it finishes what it has begun");
}
