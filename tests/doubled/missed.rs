//! Calls of CUDA's that fail more than once.

use bridge::{Backend, Compute, Error, Exchange};
use bridge_tests::{Commands, Peers, Rig};
use driver_double::Planted;

use crate::render_first::{Reader, draw};
use crate::{LEN, double, info, words};

/// It fails where the turn ends, and again where its drop makes up for it. The slot is given to
/// nobody until a later frame has enqueued it.
pub(crate) fn is_made_by_a_later_frame(name: &str) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let (commands, mut reader) = (Commands::new(rig.device()), Reader::new(&compute));
    let mut exchange = Exchange::render_first(&compute, &info(1), words()).unwrap();
    let mut turn = draw(&commands, exchange.begin().unwrap(), 1);
    reader.read(&mut turn);
    double.plant(Planted::Failing, "cuSignalExternalSemaphoresAsync", 0);
    assert!(turn.finish().unwrap_err().to_string().contains("cuSignalExternalSemaphoresAsync"));
    for _ in 0..2 {
        assert!(matches!(exchange.begin().map(drop), Err(Error::TurnLost { frame: 0, .. })), "nothing has signalled");
    }
    double.unplant();
    for word in 2..4 {
        let mut turn = draw(&commands, exchange.begin().unwrap(), word);
        reader.read(&mut turn);
        turn.finish().unwrap().wait(Rig::LONG).unwrap();
        assert!(reader.words() == [word; LEN]);
    }
    exchange.close().unwrap();
}

/// The GPU that leads could not be put behind the other's part of a frame, which was dropped. The
/// slot is given to nobody until it is.
pub(crate) fn joins_are_made_by_a_later_frame(name: &str) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    let devices = Peers::Both.devices(rig.device()).expect("the double has GPUs that reach each other");
    let compute = Compute::group(rig.device(), &devices).unwrap();
    let mut exchange = Exchange::new(&compute, &info(1), words()).unwrap();
    let mut turn = exchange.begin().unwrap();
    turn.work_split(&compute.cuda().unwrap().even_split::<u32>(LEN)).unwrap();
    double.plant(Planted::Failing, "cuStreamWaitEvent", 0);
    drop(turn);
    for _ in 0..2 {
        assert!(
            matches!(exchange.begin().map(drop), Err(Error::TurnLost { frame: 0, .. })),
            "the leader is not behind"
        );
    }
    double.unplant();
    exchange.begin().unwrap().finish().unwrap().computed().wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
}
