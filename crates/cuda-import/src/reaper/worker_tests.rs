use std::sync::mpsc;

use super::*;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);
const NAME: &str = "cuMemFree";

type Call = Box<dyn FnOnce() -> CallResult<()> + Send>;

fn start() -> Arc<Worker> {
    Worker::start(|_| {}).unwrap()
}

fn run(worker: &Worker, limit: Duration, call: Call) -> Result<CallResult<()>, NotDone> {
    worker.run(&mut Some(Job { name: NAME, call, shared: false }), limit)
}

fn waited(result: Result<CallResult<()>, NotDone>) -> Duration {
    let Err(NotDone::TimedOut(waited)) = result else { panic!("it ended: {result:?}") };
    waited
}

#[test]
fn the_result_is_that_of_the_call() {
    let worker = start();
    let error = CallError { call: NAME, code: 1 };
    assert_eq!(run(&worker, LONG, Box::new(|| Ok(()))), Ok(Ok(())));
    assert_eq!(run(&worker, LONG, Box::new(move || Err(error))), Ok(Err(error)));
    // Also if the caller sleeps, and if the thread sleeps.
    let slow = move || {
        thread::sleep(4 * YIELD);
        Err(error)
    };
    assert_eq!(run(&worker, LONG, Box::new(slow)), Ok(Err(error)));
    thread::sleep(100 * POLL_TIME);
    assert_eq!(run(&worker, LONG, Box::new(move || Err(error))), Ok(Err(error)));
}

#[test]
fn blocked_call_times_out_and_still_runs() {
    let worker = start();
    let (open, gate) = mpsc::channel::<()>();
    let (made, calls) = mpsc::channel();
    let first = made.clone();
    let blocked = move || {
        gate.recv().unwrap();
        first.send(1).unwrap();
        Ok(())
    };
    assert!(waited(run(&worker, SHORT, Box::new(blocked))) >= SHORT);
    // Calls that are queued after a blocked call are not waited for.
    let behind = move || {
        made.send(2).unwrap();
        Ok(())
    };
    let start = Instant::now();
    waited(run(&worker, SHORT, Box::new(behind)));
    assert!(start.elapsed() < LONG / 2);
    assert_eq!(calls.try_recv(), Err(mpsc::TryRecvError::Empty), "nothing returned so far");
    open.send(()).unwrap();
    assert_eq!(calls.iter().collect::<Vec<_>>(), [1, 2], "both were made, in order");
    assert_eq!(run(&worker, LONG, Box::new(|| Ok(()))), Ok(Ok(())), "and the next is waited for again");
}

#[test]
fn panic_is_an_error_and_the_thread_continues() {
    let worker = start();
    let panics = || -> CallResult<()> { panic!("on purpose") };
    assert_eq!(run(&worker, LONG, Box::new(panics)), Ok(Err(CallError { call: NAME, code: UNKNOWN })));
    assert_eq!(run(&worker, LONG, Box::new(|| Ok(()))), Ok(Ok(())));
}

#[test]
fn queued_shared_job_serves_all_callers() {
    let worker = start();
    let (open, gate) = mpsc::channel::<()>();
    let (made, calls) = mpsc::channel();
    let blocked = move || {
        gate.recv().unwrap();
        Ok(())
    };
    waited(run(&worker, SHORT, Box::new(blocked)));
    for shared in [true, true, false, true] {
        let made = made.clone();
        let call = move || {
            made.send(()).unwrap();
            Ok(())
        };
        waited(worker.run(&mut Some(Job { name: NAME, call: Box::new(call), shared }), SHORT));
    }
    drop(made);
    open.send(()).unwrap();
    assert_eq!(calls.iter().count(), 2, "the shared ones are one");
    // A job that has started may not cover what was done since, so it is not shared.
    let (made, calls) = mpsc::channel();
    for _ in 0..2 {
        let made = made.clone();
        let call = move || {
            made.send(()).unwrap();
            Ok(())
        };
        assert_eq!(worker.run(&mut Some(Job { name: NAME, call: Box::new(call), shared: true }), LONG), Ok(Ok(())));
    }
    drop(made);
    assert_eq!(calls.iter().count(), 2);
}

#[test]
fn thread_ends_when_idle() {
    let (tell, told) = mpsc::channel();
    let worker = Worker::start(move |_| tell.send(()).unwrap()).unwrap();
    assert_eq!(run(&worker, LONG, Box::new(|| Ok(()))), Ok(Ok(())));
    told.recv_timeout(LONG).unwrap();
    let mut job = Some(Job { name: NAME, call: Box::new(|| Ok(())), shared: false });
    assert_eq!(worker.run(&mut job, LONG), Err(NotDone::Ended));
    assert!(job.is_some(), "the caller has it still");
}

#[test]
fn calls_of_several_threads_have_their_own_results() {
    let worker = start();
    thread::scope(|scope| {
        for code in 0..8 {
            let worker = &worker;
            scope.spawn(move || {
                for _ in 0..200 {
                    let error = CallError { call: NAME, code };
                    assert_eq!(run(worker, LONG, Box::new(move || Err(error))), Ok(Err(error)));
                }
            });
        }
    });
}

/// Measures the overhead of the thread for a call of 100 µs, about the time of `cuMemFree`, in
/// nanoseconds: minimum and median.
#[test]
#[ignore = "measures; run with --ignored --nocapture"]
fn thread_round_trip_overhead() {
    const CALL: Duration = Duration::from_micros(100);
    let call = || {
        let start = Instant::now();
        while start.elapsed() < CALL {
            std::hint::spin_loop();
        }
        Ok(())
    };
    let worker = start();
    for (what, pause) in [("one after the other", Duration::ZERO), ("after 2 ms", Duration::from_millis(2))] {
        let mut hops: Vec<_> = (0..400)
            .map(|_| {
                thread::sleep(pause);
                let start = Instant::now();
                assert_eq!(run(&worker, LONG, Box::new(call)), Ok(Ok(())));
                (start.elapsed() - CALL).as_nanos()
            })
            .collect();
        hops.sort();
        println!("the hop, {what}: {} ns, {} ns", hops[0], hops[hops.len() / 2]);
    }
}
