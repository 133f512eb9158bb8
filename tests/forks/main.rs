//! Tests that fork: a process with one thread, so without the test harness. With an argument, only
//! the tests run whose names contain it.
#![allow(unsafe_code)]

mod descriptors;
mod ring_kill;
mod two_cameras;

use std::time::Instant;

const TESTS: [(&str, fn()); 3] = [
    (
        "ring_kill::writer_killed_anywhere_leaves_whole_records",
        ring_kill::writer_killed_anywhere_leaves_whole_records,
    ),
    (
        "descriptors::sandboxed_server_reads_rings_of_an_added_camera",
        descriptors::sandboxed_server_reads_rings_of_an_added_camera,
    ),
    (
        "two_cameras::each_has_its_own_processes_rings_hub_and_addresses",
        two_cameras::each_has_its_own_processes_rings_hub_and_addresses,
    ),
];

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    for (name, test) in TESTS {
        if wanted
            .as_ref()
            .is_none_or(|wanted| name.contains(&**wanted))
        {
            let started = Instant::now();
            test();
            println!("{name}: ok, {:.1} s", started.elapsed().as_secs_f64());
        }
    }
}
