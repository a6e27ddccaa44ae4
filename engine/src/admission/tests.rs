use std::time::Duration;

use futures::{FutureExt, future::join_all};

use super::*;

const ANN: UserNo = UserNo(2);
const BOB: UserNo = UserNo(3);

fn admission(concurrency: usize, user_concurrency: usize, user_queue: usize) -> Arc<Admission> {
    Arc::new(Admission::new(Limits { concurrency, user_concurrency, user_queue, ..Limits::default() }))
}

async fn entered(admission: &Arc<Admission>, user: UserNo) -> Slot {
    let slot = admission.slot(user);
    slot.enter().await.unwrap();
    slot
}

#[tokio::test]
async fn a_user_who_takes_all_they_may_keeps_nobody_waiting() {
    let admission = admission(3, 2, 9);
    let mine = [entered(&admission, ANN).await, entered(&admission, ANN).await];
    let third = admission.slot(ANN);
    let mut third = Box::pin(third.enter());
    assert!((&mut third).now_or_never().is_none(), "no more than two of one user");
    assert_eq!(admission.load(Some(ANN)), (2, 1));
    entered(&admission, BOB).await;
    drop(mine);
    third.await.unwrap();
}

#[tokio::test]
async fn the_next_slot_is_of_the_user_who_had_least() {
    let admission = admission(1, 1, 9);
    let first = entered(&admission, ANN).await;
    let (again, other) = (admission.slot(ANN), admission.slot(BOB));
    let (mut again, mut other) = (Box::pin(again.enter()), Box::pin(other.enter()));
    assert!((&mut again).now_or_never().is_none());
    assert!((&mut other).now_or_never().is_none());
    // Ann has had a slot for some time, however short.
    std::thread::sleep(Duration::from_millis(2));
    drop(first);
    assert!((&mut other).now_or_never().is_some(), "though Ann stood in line before");
    assert!((&mut again).now_or_never().is_none());
}

#[tokio::test]
async fn a_line_is_bounded_for_its_own_user_alone() {
    let admission = admission(2, 1, 1);
    let _first = entered(&admission, ANN).await;
    let second = admission.slot(ANN);
    let mut second = Box::pin(second.enter());
    assert!((&mut second).now_or_never().is_none());
    let third = admission.slot(ANN).enter().await.unwrap_err();
    assert_eq!(third.kind(), ErrorKind::ResourceExhausted);
    assert!(third.message().contains("--user-queue"), "{third}");
    entered(&admission, BOB).await;
}

#[tokio::test]
async fn a_wait_is_bounded_too() {
    let limits = Limits { concurrency: 1, patience: Duration::from_millis(1), ..Limits::default() };
    let admission = Arc::new(Admission::new(limits));
    let _first = entered(&admission, ANN).await;
    let error = admission.slot(BOB).enter().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(admission.load(None), (1, 0), "it has left the line");
}

#[tokio::test]
async fn who_goes_away_leaves_the_line_or_the_slot() {
    let admission = admission(1, 1, 9);
    let first = entered(&admission, ANN).await;
    let (gone, told) = (admission.slot(BOB), admission.slot(BOB));
    let mut waits = Box::pin(gone.enter());
    assert!((&mut waits).now_or_never().is_none());
    drop(waits);
    assert_eq!(admission.load(Some(BOB)), (0, 0));
    // One that has been given its slot and never looks.
    let mut waits = Box::pin(told.enter());
    assert!((&mut waits).now_or_never().is_none());
    drop(first);
    assert_eq!(admission.load(Some(BOB)), (1, 0));
    drop(waits);
    assert_eq!(admission.load(None), (0, 0));
    assert!(admission.state.lock().lines.is_empty(), "and nobody leaves a trace");
}

#[tokio::test]
async fn who_rests_lets_others_go_on_and_comes_back_before_those_who_have_not_begun() {
    let admission = admission(1, 1, 9);
    let (first, second, third) = (entered(&admission, ANN).await, admission.slot(ANN), admission.slot(ANN));
    first.rest();
    second.enter().await.unwrap();
    let (mut new, mut back) = (Box::pin(third.enter()), Box::pin(first.resume()));
    assert!((&mut new).now_or_never().is_none());
    assert!((&mut back).now_or_never().is_none());
    second.rest();
    assert!((&mut back).now_or_never().is_some());
    assert!((&mut new).now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slots_are_neither_lost_nor_doubled() {
    let admission = admission(3, 2, 1_000);
    let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks = (0..200_u64).map(|n| {
        let (admission, most) = (Arc::clone(&admission), Arc::clone(&most));
        tokio::spawn(async move {
            let slot = admission.slot(UserNo(n % 5));
            for turn in 0..20 {
                if slot.enter().now_or_never().is_none() && turn % 3 == 0 {
                    continue;
                }
                slot.resume().await;
                most.fetch_max(admission.load(None).0, Ordering::Relaxed);
                tokio::task::yield_now().await;
                slot.rest();
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(|ended| ended.unwrap());
    assert_eq!(most.load(Ordering::Relaxed), 3);
    assert_eq!(admission.load(None), (0, 0));
    assert!(admission.state.lock().lines.is_empty());
}
