use tonic::Code;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const ALICE: UserNo = UserNo(7);
const BOB: UserNo = UserNo(8);

fn code(result: Result<u64, Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

#[test]
fn opens_for_its_owner() {
    let seal = Seal::new().unwrap();
    let ticket = seal.close(Kind::Ticket, 42, ALICE, HOUR).unwrap();
    assert_eq!(seal.open(Kind::Ticket, &ticket, ALICE).unwrap(), 42);
}

#[test]
fn refuses_another_user_another_kind_and_another_process() {
    let seal = Seal::new().unwrap();
    let ticket = seal.close(Kind::Ticket, 42, ALICE, HOUR).unwrap();
    assert_eq!(code(seal.open(Kind::Ticket, &ticket, BOB)), Code::PermissionDenied);
    assert_eq!(code(seal.open(Kind::Handle, &ticket, ALICE)), Code::NotFound);
    assert_eq!(code(Seal::new().unwrap().open(Kind::Ticket, &ticket, ALICE)), Code::NotFound);
}

#[test]
fn refuses_every_changed_byte_and_every_prefix() {
    let seal = Seal::new().unwrap();
    let ticket = seal.close(Kind::Handle, 42, ALICE, HOUR).unwrap();
    for at in 0..ticket.len() {
        let mut changed = ticket.to_vec();
        changed[at] ^= 1;
        assert_eq!(code(seal.open(Kind::Handle, &changed, ALICE)), Code::NotFound);
        assert_eq!(code(seal.open(Kind::Handle, &ticket[..at], ALICE)), Code::NotFound);
    }
}

#[test]
fn hides_what_it_carries() {
    let seal = Seal::new().unwrap();
    let one = seal.close(Kind::Ticket, 42, ALICE, HOUR).unwrap();
    let other = seal.close(Kind::Ticket, 42, ALICE, HOUR).unwrap();
    assert_ne!(one, other);
}
