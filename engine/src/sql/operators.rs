//! Operators as PostgreSQL has them: `a ^ b` is the power and binds closest, `a # b` is exclusive or, `~ a` the complement;
//! those of bits and `||` all bind alike, less than `+`. The parser gives them other meanings and places, so its trees of
//! operators are taken apart and put together anew where one of these is among them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
        ObjectName, Statement, UnaryOperator, Value, VisitMut, VisitorMut,
    },
    tokenizer::{Token, TokenWithSpan},
};

use crate::{Error, Result};

/// `#` between two values, which the parser does not know.
pub(super) fn name_xor(tokens: &mut [TokenWithSpan]) {
    for token in tokens {
        if token.token == Token::Sharp {
            token.token = Token::make_keyword("XOR");
        }
    }
}

/// Refuses what the parser would call a slip without saying what to write.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    for TokenWithSpan { token, span } in tokens {
        let (operator, instead) = match token {
            Token::PGSquareRoot => ("|/", "sqrt(x)"),
            Token::PGCubeRoot => ("||/", "cbrt(x)"),
            Token::DoubleExclamationMark => ("!!", "factorial(x)"),
            Token::ExclamationMark => ("!", "factorial(x), or NOT x"),
            Token::AtSign => ("@", "abs(x)"),
            _ => continue,
        };
        return Err(Error::unimplemented(format!(
            "there is no operator {operator} (at Line: {}, Column: {}); write {instead}",
            span.start.line, span.start.column
        )));
    }
    Ok(())
}

pub(super) fn settle(statement: &mut Statement) {
    let _: ControlFlow<()> = statement.visit(&mut Operators);
}

struct Operators;

impl VisitorMut for Operators {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::BinaryOp { .. } if is_out_of_place(expr) => {
                let (mut values, mut operators) = (Vec::new(), Vec::new());
                take_apart(take(expr), &mut values, &mut operators);
                *expr = put_together(values, operators);
            }
            Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr: value } => {
                let (value, ones) = (take(value), Expr::value(Value::Number("-1".into(), false)));
                *expr = Expr::Nested(Box::new(binary(value, BinaryOperator::Xor, ones)));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// How close one binds; none if it is not among those that are put in their places.
fn closeness(operator: &BinaryOperator) -> Option<u8> {
    use BinaryOperator::*;
    match operator {
        BitwiseXor | PGExp => Some(3),
        Multiply | Divide | Modulo => Some(2),
        Plus | Minus => Some(1),
        BitwiseAnd | BitwiseOr | Xor | PGBitwiseXor | PGBitwiseShiftLeft | PGBitwiseShiftRight | StringConcat => {
            Some(0)
        }
        _ => None,
    }
}

/// Is there a power, or one of the last kind beside others?
fn is_out_of_place(expr: &Expr) -> bool {
    let mut operators = Vec::new();
    operators_of(expr, &mut operators);
    let is_mixed = operators.iter().any(|operator| *operator != operators[0]);
    operators.iter().any(|operator| match closeness(operator) {
        Some(3) => true,
        Some(0) => is_mixed,
        _ => false,
    })
}

fn operators_of<'a>(expr: &'a Expr, operators: &mut Vec<&'a BinaryOperator>) {
    if let Expr::BinaryOp { left, op, right } = expr
        && closeness(op).is_some()
    {
        operators_of(left, operators);
        operators.push(op);
        operators_of(right, operators);
    }
}

/// The values and the operators between them, in the order of the text.
fn take_apart(expr: Expr, values: &mut Vec<Expr>, operators: &mut Vec<BinaryOperator>) {
    match expr {
        Expr::BinaryOp { left, op, right } if closeness(&op).is_some() => {
            take_apart(*left, values, operators);
            operators.push(op);
            take_apart(*right, values, operators);
        }
        value => values.push(value),
    }
}

fn put_together(values: Vec<Expr>, operators: Vec<BinaryOperator>) -> Expr {
    let mut values = values.into_iter();
    let (mut done, mut waiting): (Vec<Expr>, Vec<BinaryOperator>) = (values.next().into_iter().collect(), Vec::new());
    let combine = |done: &mut Vec<Expr>, operator: BinaryOperator| {
        if let (Some(right), Some(left)) = (done.pop(), done.pop()) {
            done.push(binary(left, operator, right));
        }
    };
    for (operator, value) in operators.into_iter().zip(values) {
        while let Some(before) = waiting.pop_if(|before| closeness(before) >= closeness(&operator)) {
            combine(&mut done, before);
        }
        waiting.push(operator);
        done.push(value);
    }
    while let Some(operator) = waiting.pop() {
        combine(&mut done, operator);
    }
    done.pop().unwrap_or_else(nothing)
}

/// With parentheses wherever its text could be read otherwise.
fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    if closeness(&op) == Some(3) {
        return power(left, right);
    }
    let nested = |side: Expr| match &side {
        Expr::BinaryOp { op: of_side, .. } if *of_side != op => Box::new(Expr::Nested(Box::new(side))),
        _ => Box::new(side),
    };
    let (left, right) = (nested(left), nested(right));
    Expr::BinaryOp { left, op, right }
}

fn power(base: Expr, exponent: Expr) -> Expr {
    let args = [base, exponent].map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    let args = FunctionArgumentList { duplicate_treatment: None, args: args.into(), clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(Ident::new("power")),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, nothing())
}

fn nothing() -> Expr {
    Expr::value(Value::Null)
}

#[cfg(test)]
mod tests;
