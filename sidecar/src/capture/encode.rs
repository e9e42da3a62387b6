//! The rules as netlink messages: attributes, nftables objects, and one atomic batch of them.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`, which is a stable kernel interface.

use libc::{
    NF_ACCEPT, NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES,
    NFPROTO_INET, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE, NLM_F_ACK, NLM_F_APPEND,
    NLM_F_CREATE, NLM_F_REQUEST,
};

use super::attributes::Attributes;
use super::expressions;
use super::rules::{Hook, Rule, Ruleset, Verdict};
use super::uapi::{
    NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_POLICY, NFTA_CHAIN_TABLE, NFTA_CHAIN_TYPE, NFTA_HOOK_HOOKNUM,
    NFTA_HOOK_PRIORITY, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE, NFTA_RULE_USERDATA, NFTA_TABLE_NAME,
    NLMSG_HEADER_LEN,
};

/// One change to nftables.
#[derive(Clone, Debug)]
pub(super) struct Message {
    kind: u16,
    flags: u16,
    /// The attributes, without any header.
    pub(super) attributes: Vec<u8>,
    /// What the change is about, for errors.
    pub(super) subject: String,
    /// Kernel modules that implement it.
    pub(super) modules: &'static str,
}

impl Message {
    /// Whether this is the given kind of nftables message.
    pub(super) fn is(&self, message: i32) -> bool {
        self.kind == nft_kind(message)
    }
}

/// The messages that put `ruleset` in the place of whatever table of ours is there.
pub(super) fn replacement(ruleset: &Ruleset) -> Vec<Message> {
    let mut messages = removal();
    messages.push(table(NFT_MSG_NEWTABLE, NLM_F_CREATE));
    for (hook, _) in ruleset.chains() {
        messages.push(chain(hook));
    }
    for (hook, rules) in ruleset.chains() {
        messages.extend(rules.iter().map(|entry| rule(hook, entry)));
    }
    messages
}

/// The messages that remove our table: `add` first, so that `delete` cannot fail.
pub(super) fn removal() -> Vec<Message> {
    vec![table(NFT_MSG_NEWTABLE, NLM_F_CREATE), table(NFT_MSG_DELTABLE, 0)]
}

/// Encodes `messages` as one batch that the kernel applies wholly or not at all. Message `i` has the sequence number
/// `i + 1`; the last one asks for an answer.
pub(super) fn batch(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    let subsystem = [0, 0, 0, NFNL_SUBSYS_NFTABLES as u8];
    put_message(&mut out, NFNL_MSG_BATCH_BEGIN as u16, 0, 0, subsystem, &[]);
    let mut sequence = 0;
    for message in messages {
        sequence += 1;
        let ack = if sequence as usize == messages.len() { NLM_F_ACK } else { 0 };
        let flags = message.flags | ack as u16;
        put_message(&mut out, message.kind, flags, sequence, [NFPROTO_INET as u8, 0, 0, 0], &message.attributes);
    }
    put_message(&mut out, NFNL_MSG_BATCH_END as u16, 0, sequence + 1, subsystem, &[]);
    out
}

/// Appends one netlink message: header, nfnetlink header, attributes.
pub(super) fn put_message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    nfgenmsg: [u8; 4],
    attributes: &[u8],
) {
    let len = u32::try_from(NLMSG_HEADER_LEN + nfgenmsg.len() + attributes.len()).expect("a rule is far below 4 GiB");
    out.extend(len.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((flags | NLM_F_REQUEST as u16).to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend([0; 4]); // the port id: the kernel fills it in
    out.extend(nfgenmsg);
    out.extend(attributes); // attributes are padded to 4 bytes, so messages are too
}

/// The type of an nftables message, as netlink numbers it.
pub(super) fn nft_kind(message: i32) -> u16 {
    ((NFNL_SUBSYS_NFTABLES << 8) | message) as u16
}

fn table(kind: i32, flags: i32) -> Message {
    let mut attributes = Attributes::default();
    attributes.text(NFTA_TABLE_NAME, TABLE);
    Message {
        kind: nft_kind(kind),
        flags: flags as u16,
        attributes: attributes.0,
        subject: format!("table `{TABLE}`"),
        modules: "nf_tables",
    }
}

fn chain(hook: Hook) -> Message {
    let number = match hook {
        Hook::Output => NF_INET_LOCAL_OUT,
        Hook::Prerouting => NF_INET_PRE_ROUTING,
    };
    let mut attributes = Attributes::default();
    attributes.text(NFTA_CHAIN_TABLE, TABLE);
    attributes.text(NFTA_CHAIN_NAME, hook.name());
    attributes.nest(NFTA_CHAIN_HOOK, |a| {
        a.number(NFTA_HOOK_HOOKNUM, number);
        a.number(NFTA_HOOK_PRIORITY, PRIORITY);
    });
    attributes.number(NFTA_CHAIN_POLICY, NF_ACCEPT);
    attributes.text(NFTA_CHAIN_TYPE, "nat");
    Message {
        kind: nft_kind(NFT_MSG_NEWCHAIN),
        flags: NLM_F_CREATE as u16,
        attributes: attributes.0,
        subject: format!("nat chain `{}`", hook.name()),
        modules: "nft_chain_nat, nf_nat, nf_conntrack",
    }
}

fn rule(hook: Hook, rule: &Rule) -> Message {
    let mut attributes = Attributes::default();
    attributes.text(NFTA_RULE_TABLE, TABLE);
    attributes.text(NFTA_RULE_CHAIN, hook.name());
    attributes.nest(NFTA_RULE_EXPRESSIONS, |list| expressions::write(list, rule));
    attributes.bytes(NFTA_RULE_USERDATA, &comment(&rule.comment));
    Message {
        kind: nft_kind(NFT_MSG_NEWRULE),
        flags: (NLM_F_CREATE | NLM_F_APPEND) as u16,
        attributes: attributes.0,
        subject: format!("rule `{rule}` of chain `{}`", hook.name()),
        modules: match rule.verdict {
            Verdict::Redirect(_) => "nft_redir, nft_fib_inet",
            Verdict::Return => "nf_tables",
        },
    }
}

/// A comment as nft itself stores it: type, length, text with its NUL.
fn comment(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len() + 1).expect("comments are short constants");
    [&[0, len], text.as_bytes(), &[0]].concat()
}

/// Ours alone, so that replacing and removing it touches nobody else's rules.
pub(super) const TABLE: &str = "outrigger";

/// `dstnat`, where every redirect hangs.
const PRIORITY: i32 = -100;

#[cfg(test)]
mod tests {
    use super::super::tests::every_kind_of_rule;
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn encodes_every_kind_of_rule_byte_for_byte() {
        let messages = replacement(&every_kind_of_rule());
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut text: String = messages.iter().map(|m| format!("{}\n{}\n", m.subject, hex(&m.attributes))).collect();
        // The framing, on the two changes of a removal.
        text += &format!("batch\n{}\n", hex(&batch(&removal())));
        for (line, golden) in text.lines().zip(include_str!("tests/every_kind_of_rule.hex").lines()) {
            assert_eq!(line, golden);
        }
        assert_eq!(text, include_str!("tests/every_kind_of_rule.hex"));
    }

    #[test]
    fn only_the_last_change_of_a_batch_asks_for_an_answer() {
        let bytes = batch(&removal());
        let mut rest = bytes.as_slice();
        let mut flags = Vec::new();
        while let Some(header) = rest.get(..NLMSG_HEADER_LEN) {
            flags.push(u16::from_ne_bytes([header[6], header[7]]) as i32 & NLM_F_ACK);
            rest = &rest[u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize..];
        }
        assert_eq!(flags, [0, 0, NLM_F_ACK, 0]);
        assert!(rest.is_empty());
    }
}
