use std::time::Duration;

use tokio::sync::oneshot;
use tonic::Code;

use super::*;

fn free() -> Course<i32> {
    Course { pace: None, size: |_| 0, most: u64::MAX }
}

#[tokio::test]
async fn a_stream_ends_with_an_error_where_it_would_be_too_long() {
    let executor = Executor::new().unwrap();
    let course = Course { size: |_| 4, most: 8, ..free() };
    let received: Vec<_> =
        executor.stream(stream::repeat(1).map(Ok).boxed(), std::future::pending(), course).unwrap().collect().await;
    assert_eq!(received.len(), 3);
    let error = received[2].as_ref().unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("--max-result-bytes"), "{error}");
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_work_alone() {
    let executor = Executor::new().unwrap();
    let panicking = executor.run(async { panic!("boom") }).await;
    assert_eq!(panicking.unwrap_err().code(), Code::Internal);
    assert_eq!(executor.run(async { 7 }).await.unwrap(), 7);
}

#[tokio::test]
async fn a_stream_that_panics_does_not_pass_for_a_short_one() {
    let executor = Executor::new().unwrap();
    let items = stream::iter(0..3).map(|n| if n < 2 { Ok(n) } else { panic!("boom") }).boxed();
    let received: Vec<_> = executor.stream(items, std::future::pending(), free()).unwrap().collect().await;
    assert_eq!(received.len(), 3);
    assert_eq!(received[2].as_ref().unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn dropping_the_wait_cancels_the_work() {
    let executor = Executor::new().unwrap();
    let (alive, dropped) = oneshot::channel::<()>();
    let endless = executor.run(async move {
        let _alive = alive;
        std::future::pending::<()>().await
    });
    assert!(tokio::time::timeout(Duration::from_millis(1), endless).await.is_err());
    assert!(dropped.await.is_err());
}

#[tokio::test]
async fn what_runs_has_let_go_when_the_executor_has_ended() {
    let executor = Executor::new().unwrap();
    let (alive, mut dropped) = oneshot::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let mut endless = executor
        .start(Weight::Heavy, async move {
            let _alive = alive;
            begun.send(()).unwrap();
            std::future::pending::<()>().await
        })
        .unwrap();
    has_begun.await.unwrap();
    executor.end(Duration::from_secs(60)).await;
    assert!(matches!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    assert_eq!(endless.join().await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(executor.run(async { 7 }).await.unwrap_err().code(), Code::Cancelled, "nothing begins any more");
}

#[tokio::test]
async fn a_stream_that_is_stopped_frees_what_it_holds_though_nobody_reads() {
    let executor = Executor::new().unwrap();
    let (alive, dropped) = oneshot::channel::<()>();
    let (stop, stopped) = oneshot::channel();
    let items = stream::repeat(1).map(move |n| {
        let _ = &alive;
        Ok(n)
    });
    let stopped = async { stopped.await.unwrap_or_else(|_| Status::internal("never asked to stop")) };
    let mut received = executor.stream(items.boxed(), stopped, free()).unwrap();
    assert_eq!(received.next().await.unwrap().unwrap(), 1);
    stop.send(Status::cancelled("stop")).unwrap();
    assert!(dropped.await.is_err(), "the items are gone before the buffered ones are read");
    let rest: Vec<_> = received.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap_err().code(), Code::Cancelled);
}
