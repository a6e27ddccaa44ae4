use std::sync::Arc;

use datafusion::physical_plan::collect;
use insula_proto::UserNo;
use insula_storage::{Store, TableDef, TableSlice};

use super::*;
use crate::{
    Engine, EngineConfig, ErrorKind, Identity, Outcome, Role, Session, StoreConfig,
    context::Context,
    statement::Request,
    table::provider::{Column, Shape, columns},
};

const USERS: u64 = 5;
const ROWS: u64 = 40;

struct World {
    engine: Arc<Engine>,
    _dir: tempfile::TempDir,
}

impl World {
    /// Five users with forty rows each, in one file.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreConfig::new(dir.path().to_path_buf());
        let config = EngineConfig {
            store,
            memory_limit: 1 << 28,
            transactions: Default::default(),
            limits: Default::default(),
            admin_password: Some("secret".into()),
        };
        let world = Self { engine: Engine::open(config).await.unwrap(), _dir: dir };
        world.run(0, "CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT NOT NULL)").await;
        for user in 1..=USERS {
            let rows: Vec<_> = (0..ROWS).map(|id| format!("({id}, {})", id * user)).collect();
            world.run(user, &format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
        }
        world.run(0, "FLUSH TABLE t").await;
        world
    }

    fn store(&self) -> &Arc<Store> {
        self.engine.store()
    }

    fn table(&self) -> Arc<TableDef> {
        self.store().tables().remove(0)
    }

    async fn run(&self, user: u64, sql: &str) {
        let identity = self.identity(user);
        let session = Arc::new(Session::new(&identity));
        match self.engine.execute(&identity, &session, sql, Vec::new()).await.unwrap() {
            Outcome::Count(_) => {}
            Outcome::Rows { rows, .. } => {
                futures::TryStreamExt::try_collect::<Vec<_>>(rows).await.unwrap();
            }
        }
    }

    fn identity(&self, user: u64) -> Identity {
        let role = if user == 0 { Role::Admin } else { Role::User };
        Identity { name: format!("user {user}").into(), no: UserNo(user), role, actor: None }
    }

    fn context(&self, user: u64) -> Context {
        let identity = self.identity(user);
        let session = Arc::new(Session::new(&identity));
        let running = &self.engine.begin(&identity, &session, &"".into());
        let request = Request::new(&self.engine, &identity, &session, running);
        request.context(Default::default()).unwrap()
    }

    fn slice(&self, user: u64) -> TableSlice {
        self.store().view().slice(&self.table(), UserNo(user)).unwrap()
    }
}

/// Reads `ranges` of the user's file as if the user index had said so.
async fn read(world: &World, user: u64, ranges: Vec<std::ops::Range<u64>>, by_place: bool) -> crate::Result<usize> {
    let (context, slice) = (world.context(user), world.slice(user));
    let mut files = slice.cold().await.unwrap();
    files[0].ranges = ranges;
    let columns: Vec<Column> = columns(&world.table(), Shape::default());
    let scan = Scan { slice: &slice, columns: &columns, filters: &[], deleted: false, wanted: &KeyBounds::All };
    let plan = scan.plan_of(context.state(), files, Drops { by_place, ..Default::default() })?;
    let mut rows = 0;
    for partition in 0..datafusion::physical_plan::ExecutionPlanProperties::output_partitioning(&plan).partition_count()
    {
        let stream = plan.execute(partition, context.task().unwrap())?;
        let batches: Vec<_> = futures::TryStreamExt::try_collect(stream).await?;
        rows += batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>();
    }
    Ok(rows)
}

#[tokio::test]
async fn rows_of_others_fail_the_scan_whichever_they_are() {
    let world = World::new().await;
    let own = world.slice(3).cold().await.unwrap()[0].ranges.clone();
    assert_eq!(own, vec![2 * ROWS..3 * ROWS]);
    for by_place in [false, true] {
        assert_eq!(read(&world, 3, own.clone(), by_place).await.unwrap(), ROWS as usize);
    }
    // Every place of a range in the file, in steps that divide nothing.
    for (start, by_place) in (0..USERS * ROWS - 7).step_by(3).flat_map(|start| [(start, false), (start, true)]) {
        let shuffled = vec![start..start + 7];
        let is_own = start >= 2 * ROWS && start + 7 <= 3 * ROWS;
        match read(&world, 3, shuffled, by_place).await {
            Ok(rows) => assert!(is_own && rows == 7, "rows from {start} were shown"),
            Err(error) => {
                assert!(!is_own && error.kind() == ErrorKind::Internal, "{error}");
                assert!(!error.to_string().contains("3"), "the message tells of users: {error}");
            }
        }
    }
}

#[tokio::test]
async fn the_guard_reads_the_users_of_the_file_and_no_constant() {
    let world = World::new().await;
    let slice = world.slice(3);
    let files = slice.cold().await.unwrap();
    let schema = insula_storage::file_schema(&world.table().stored_schema());
    for statistics in [
        statistics::of_all(&world.table(), &schema, &files).unwrap(),
        statistics::of_piece(&world.table(), &schema, &files[0], ROWS, true).unwrap(),
    ] {
        let users = &statistics.column_statistics[USER_NO];
        assert_eq!(users, &datafusion::common::ColumnStatistics::new_unknown());
    }
}

#[tokio::test]
async fn a_stamp_is_the_number_and_time_of_every_row() {
    let world = World::new().await;
    let (context, slice) = (world.context(2), world.slice(2));
    let mut files = slice.cold().await.unwrap();
    files[0].stamp = Some(insula_storage::Stamp { seq: insula_proto::Seq(777), updated_micros: 1_000_000 });
    let shape = Shape { columns: crate::sql::SystemColumns::ALL, deleted: true, row_id: false };
    let columns = columns(&world.table(), shape);
    let scan = Scan { slice: &slice, columns: &columns, filters: &[], deleted: true, wanted: &KeyBounds::All };
    let plan = scan.plan_of(context.state(), files, Drops::default()).unwrap();
    let batches = collect(plan, context.task().unwrap()).await.unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    assert_eq!(text.matches("| 777 ").count(), ROWS as usize, "{text}");
    assert_eq!(text.matches("1970-01-01T00:00:01Z").count(), ROWS as usize, "{text}");
}
