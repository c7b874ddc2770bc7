//! What is known of a replica in the course of one step.

use varve_core::ids::{BrokerId, DirectoryId};
use varve_core::record::BatchBuilder;
use varve_core::store::{Refusal, Roll};

use super::*;

const ME: Voter = Voter {
    broker: BrokerId(1),
    directory: DirectoryId(7),
};

fn batch(base_offset: i64) -> varve_core::record::Batch {
    let mut builder = BatchBuilder::default();
    let value = base_offset.to_be_bytes();
    builder
        .push(Timestamp(5), None, Some(&value), &[])
        .expect("it is empty");
    let mut batch = builder.build();
    batch.header.base_offset = Offset(base_offset);
    batch
}

#[test]
fn an_append_stands_in_the_log_until_the_step_is_over_in_which_its_refusal_is_heard() {
    let replica = TopicPartition::default();
    let mut seen = Observed::default();
    let mut end = Position::default();
    let batches = [batch(0), batch(1)];
    for (seq, batch) in (1..).map(OrderSeq).zip(&batches) {
        let entry = Entry::Batch(batch.clone());
        let after = end;
        end = entry.position_after(after);
        let kind = OrderKind::Append {
            after,
            entries: vec![entry],
            high_watermark: Offset(0),
            flush: Flush::Replicated,
            roll: Roll::default(),
        };
        seen.take_order(ME, &Order { replica, seq, kind });
    }
    let stages = [Stage::Written, Stage::Refused(Refusal::OutOfResources)];
    let reports = (1..).map(OrderSeq).zip(stages);
    let reports = reports.map(|(seq, stage)| Completion {
        replica,
        seq,
        position: Position::default(),
        stage,
    });
    seen.take_input(ME, &Input::Stored(reports.collect()));
    let has = |seen: &Observed| {
        batches
            .each_ref()
            .map(|it| seen.has_batch(replica, ME, &it.header))
    };
    assert_eq!(has(&seen), [true, true]);
    seen.take_input(ME, &Input::Tick);
    assert_eq!(has(&seen), [true, false]);
}
