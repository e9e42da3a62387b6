//! Reads our table back from the kernel: proof after an install, and counters for whoever asks what was captured.

use libc::{NFT_MSG_GETCHAIN, NFT_MSG_GETRULE, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE};

use super::attributes::{Attributes, Reader};
use super::encode::{self, Message, TABLE};
use super::error::CaptureError;
use super::netlink::Socket;
use super::rules::Ruleset;
use super::uapi::{
    NFTA_CHAIN_TABLE, NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS, NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_LIST_ELEM,
    NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE, NFTA_RULE_USERDATA, NFTA_TABLE_NAME,
};

/// What is installed in this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Every rule, in the order the kernel walks each chain.
    pub rules: Vec<RuleCounter>,
}

/// One installed rule and how many connections it decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCounter {
    /// `output` or `prerouting`.
    pub chain: String,
    /// The rule's comment.
    pub comment: String,
    /// Connections that matched: a nat chain sees only the first packet of each.
    pub connections: u64,
    /// Bytes of those first packets.
    pub bytes: u64,
}

/// Compares what the kernel holds with `ruleset`, attribute by attribute.
pub(super) fn verify(kernel: &mut Socket, ruleset: &Ruleset) -> Result<(), CaptureError> {
    let wanted = encode::replacement(ruleset);
    let chains = objects(kernel, NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE)?;
    for sent in wanted.iter().filter(|message| message.is(NFT_MSG_NEWCHAIN)) {
        if !chains.iter().any(|held| Reader(held).covers(Reader(&sent.attributes))) {
            return Err(differs(sent));
        }
    }
    let rules = objects(kernel, NFT_MSG_GETRULE, NFTA_RULE_TABLE)?;
    let sent: Vec<&Message> = wanted.iter().filter(|message| message.is(NFT_MSG_NEWRULE)).collect();
    if rules.len() != sent.len() {
        let found = format!("{} rules were sent, {} are there", sent.len(), rules.len());
        return Err(CaptureError::NotInForce { found });
    }
    for (hook, _) in ruleset.chains() {
        let of_chain = |rule: &&[u8]| Reader(rule).text(NFTA_RULE_CHAIN) == Some(hook.name());
        let held = rules.iter().map(Vec::as_slice).filter(of_chain);
        let sent = sent.iter().filter(|message| of_chain(&message.attributes.as_slice()));
        for (held, sent) in held.zip(sent) {
            if !Reader(held).covers(Reader(&sent.attributes)) {
                return Err(differs(sent));
            }
        }
    }
    Ok(())
}

/// Our rules with their counters; `None` when our table is not there.
pub(super) fn status(kernel: &mut Socket) -> Result<Option<Status>, CaptureError> {
    if objects(kernel, NFT_MSG_GETTABLE, NFTA_TABLE_NAME)?.is_empty() {
        return Ok(None);
    }
    let rules = objects(kernel, NFT_MSG_GETRULE, NFTA_RULE_TABLE)?;
    rules.iter().map(|rule| counter(Reader(rule))).collect::<Result<_, _>>().map(|rules| Some(Status { rules }))
}

/// Objects of our table. `table` is the attribute that names an object's table.
fn objects(kernel: &mut Socket, request: i32, table: u16) -> Result<Vec<Vec<u8>>, CaptureError> {
    // Kernels differ in whether they honour the filter, so it is applied here as well.
    let mut filter = Attributes::default();
    if request == NFT_MSG_GETRULE {
        filter.text(table, TABLE);
    }
    let mut objects = kernel.dump(request, &filter.0)?;
    objects.retain(|object| Reader(object).text(table) == Some(TABLE));
    Ok(objects)
}

fn counter(rule: Reader<'_>) -> Result<RuleCounter, CaptureError> {
    let malformed = |problem| CaptureError::Malformed { problem };
    let chain = rule.text(NFTA_RULE_CHAIN).ok_or_else(|| malformed("a rule without a chain"))?;
    // Type, length, text with its NUL, as `encode` writes it; a rule added by hand may have none.
    let comment = match rule.value(NFTA_RULE_USERDATA) {
        Some([0, _, text @ ..]) => String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()),
        _ => "".into(),
    };
    let expressions = rule.value(NFTA_RULE_EXPRESSIONS).ok_or_else(|| malformed("a rule without expressions"))?;
    let data = Reader(expressions)
        .filter(|element| element.kind == NFTA_LIST_ELEM)
        .map(|element| Reader(element.value))
        .find(|expression| expression.text(NFTA_EXPR_NAME) == Some("counter"))
        .and_then(|expression| expression.value(NFTA_EXPR_DATA))
        .unwrap_or_default();
    let number = |kind| {
        let value = Reader(data).value(kind).unwrap_or_default();
        value.try_into().map_or(0, u64::from_be_bytes)
    };
    Ok(RuleCounter {
        chain: chain.to_owned(),
        comment: comment.into_owned(),
        connections: number(NFTA_COUNTER_PACKETS),
        bytes: number(NFTA_COUNTER_BYTES),
    })
}

fn differs(sent: &Message) -> CaptureError {
    CaptureError::NotInForce { found: format!("{} is missing or different", sent.subject) }
}
