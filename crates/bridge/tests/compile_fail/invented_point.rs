use bridge::TimelinePoint;

fn wait_for_what_nobody_signals(known: TimelinePoint) -> TimelinePoint {
    TimelinePoint { value: known.value() + 1, ..known }
}

fn main() {
    let _ = wait_for_what_nobody_signals;
}
