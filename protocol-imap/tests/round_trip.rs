//! `parse(write(x)) == x` for commands and responses in every form of literal, and readers that never panic.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use protocol_core::{SendBuf, Timestamp};
use protocol_imap::codec::*;
use protocol_imap::set::{Bound, SeqRange, SequenceSet};

/// Values borrow, so what they borrow from lives as long as the test.
fn keep<T>(items: Vec<T>) -> &'static [T] {
    items.leak()
}

fn list<T: 'static + std::fmt::Debug>(
    item: impl Strategy<Value = T>,
    len: std::ops::Range<usize>,
) -> impl Strategy<Value = List<'static, T>>
where
    List<'static, T>: std::fmt::Debug,
{
    vec(item, len).prop_map(|items| List::of(keep(items)))
}

fn text() -> impl Strategy<Value = Text<'static>> {
    let octets = prop_oneof![
        "[a-zA-Z0-9]{1,8}".prop_map(String::into_bytes),
        "[ -~]{0,12}".prop_map(String::into_bytes),
        "\\PC{0,8}".prop_map(String::into_bytes),
        vec(1u8..=255, 0..12),
    ];
    octets.prop_map(|octets| Text::new(keep(octets)))
}

fn nstring() -> impl Strategy<Value = Option<Text<'static>>> {
    option::of(text())
}

fn name() -> impl Strategy<Value = MailboxName<'static>> {
    prop_oneof![text().prop_map(MailboxName), Just(MailboxName::new(b"INBOX"))]
}

fn word() -> impl Strategy<Value = &'static str> {
    "[A-Za-z$][A-Za-z0-9.=-]{0,8}".prop_map(|word| &*word.leak())
}

fn atom() -> impl Strategy<Value = Atom<'static>> {
    word().prop_map(Atom)
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![9 => (1..=u32::MAX).prop_map(Bound::Number), 1 => Just(Bound::Largest)]
}

/// Numbers without `*` and `$`, as responses have them.
fn uids() -> impl Strategy<Value = SequenceSet<'static>> {
    let range = (1..=u32::MAX, 1..=u32::MAX).prop_map(|(first, last)| SeqRange::new(first, last));
    vec(range, 1..5).prop_map(|ranges| SequenceSet::of(keep(ranges)))
}

fn set() -> impl Strategy<Value = SequenceSet<'static>> {
    let range = (bound(), bound()).prop_map(|(first, last)| SeqRange { first, last });
    let ranges = vec(range, 1..5).prop_map(|ranges| SequenceSet::of(keep(ranges)));
    prop_oneof![9 => ranges, 1 => Just(SequenceSet::SAVED)]
}

fn flag() -> impl Strategy<Value = Flag<'static>> {
    prop_oneof![
        Just(Flag::Seen),
        Just(Flag::Answered),
        Just(Flag::Flagged),
        Just(Flag::Deleted),
        Just(Flag::Draft),
        word().prop_map(Flag::Keyword),
        "X[a-z]{1,5}".prop_map(|name| Flag::Extension(name.leak())),
    ]
}

fn number64() -> impl Strategy<Value = u64> {
    0..=i64::MAX as u64
}

fn date_time() -> impl Strategy<Value = DateTime> {
    (-60_000_000_000i64..250_000_000_000).prop_map(|secs| DateTime(Timestamp::from_secs(secs)))
}

fn date() -> impl Strategy<Value = Date> {
    date_time().prop_map(|date| Date::of(date.0))
}

fn part() -> impl Strategy<Value = PartPath<'static>> {
    vec(1..=u32::MAX, 0..4).prop_map(|numbers| PartPath::of(keep(numbers)))
}

fn section() -> impl Strategy<Value = Section<'static>> {
    let text = prop_oneof![
        Just(SectionText::All),
        Just(SectionText::Header),
        Just(SectionText::Text),
        Just(SectionText::Mime),
        list(text(), 1..4).prop_map(SectionText::HeaderFields),
        list(text(), 1..4).prop_map(SectionText::HeaderFieldsNot),
    ];
    (part(), text)
        .prop_filter("MIME belongs to a part", |(part, text)| {
            !part.is_message() || *text != SectionText::Mime
        })
        .prop_map(|(part, text)| Section { part, text })
}

fn fetch_item() -> impl Strategy<Value = FetchItem<'static>> {
    let partial = || {
        option::of((number64(), 1..=i64::MAX as u64).prop_map(|(offset, count)| Partial { offset, count }))
    };
    let plain = prop::sample::select(vec![
        FetchItem::Uid,
        FetchItem::Flags,
        FetchItem::InternalDate,
        FetchItem::Envelope,
        FetchItem::Body,
        FetchItem::BodyStructure,
        FetchItem::Rfc822Size,
        FetchItem::Rfc822,
        FetchItem::Rfc822Header,
        FetchItem::Rfc822Text,
        FetchItem::ModSeq,
    ]);
    prop_oneof![
        plain,
        (any::<bool>(), section(), partial()).prop_map(|(peek, section, partial)| FetchItem::Section {
            peek,
            section,
            partial
        }),
        (any::<bool>(), part(), partial()).prop_map(|(peek, part, partial)| FetchItem::Binary {
            peek,
            part,
            partial
        }),
        part().prop_map(FetchItem::BinarySize),
    ]
}

fn fetch() -> impl Strategy<Value = CommandBody<'static>> {
    (any::<bool>(), set(), list(fetch_item(), 1..5), option::of(number64()), any::<bool>()).prop_map(
        |(uid, set, items, changed_since, vanished)| {
            let vanished = vanished && uid && changed_since.is_some();
            CommandBody::Fetch(Fetch { uid, set, items, changed_since, vanished })
        },
    )
}

fn store() -> impl Strategy<Value = CommandBody<'static>> {
    let op = prop::sample::select(vec![StoreOp::Replace, StoreOp::Add, StoreOp::Remove]);
    (any::<bool>(), set(), option::of(number64()), op, any::<bool>(), list(flag(), 0..5)).prop_map(
        |(uid, set, unchanged_since, op, silent, flags)| {
            CommandBody::Store(Store { uid, set, unchanged_since, op, silent, flags })
        },
    )
}

fn search_key() -> impl Strategy<Value = SearchKey<'static>> {
    use SearchKey as K;
    let plain = prop::sample::select(vec![
        K::All,
        K::Answered,
        K::Deleted,
        K::Draft,
        K::Flagged,
        K::New,
        K::Old,
        K::Recent,
        K::Seen,
        K::Unanswered,
        K::Undeleted,
        K::Undraft,
        K::Unflagged,
        K::Unseen,
    ]);
    prop_oneof![
        plain,
        word().prop_map(K::Keyword),
        word().prop_map(K::Unkeyword),
        (text(), text()).prop_map(|(name, value)| K::Header(name, value)),
        text().prop_map(K::Bcc),
        text().prop_map(K::Body),
        text().prop_map(K::Cc),
        text().prop_map(K::From),
        text().prop_map(K::Subject),
        text().prop_map(K::Text),
        text().prop_map(K::To),
        date().prop_map(K::Before),
        date().prop_map(K::On),
        date().prop_map(K::Since),
        date().prop_map(K::SentBefore),
        date().prop_map(K::SentOn),
        date().prop_map(K::SentSince),
        number64().prop_map(K::Larger),
        number64().prop_map(K::Smaller),
        (1..=u32::MAX).prop_map(K::Older),
        (1..=u32::MAX).prop_map(K::Younger),
        number64().prop_map(K::ModSeq),
        set().prop_map(K::Uid),
        set().prop_map(K::Sequence),
    ]
}

/// Programs that are well formed, from a tree.
fn program() -> impl Strategy<Value = List<'static, SearchOp<'static>>> {
    let key = search_key().prop_map(|key| vec![SearchOp::Key(key)]);
    let operand = key.prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| [vec![SearchOp::Not], a].concat()),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| [vec![SearchOp::Or], a, b].concat()),
            vec(inner, 1..3)
                .prop_map(|all| [vec![SearchOp::And], all.concat(), vec![SearchOp::End]].concat()),
        ]
    });
    vec(operand, 1..4).prop_map(|operands| List::of(keep(operands.concat())))
}

fn search() -> impl Strategy<Value = CommandBody<'static>> {
    let returns = any::<[bool; 5]>().prop_map(|[min, max, all, count, save]| SearchReturn {
        min,
        max,
        all,
        count,
        save,
    });
    (any::<bool>(), option::of(returns), option::of(text()), program()).prop_map(
        |(uid, returns, charset, program)| CommandBody::Search(Search { uid, returns, charset, program }),
    )
}

fn status_items() -> impl Strategy<Value = List<'static, StatusItem>> {
    list(status_item(), 1..5)
}

fn status_item() -> impl Strategy<Value = StatusItem> {
    prop::sample::select(vec![
        StatusItem::Messages,
        StatusItem::Recent,
        StatusItem::UidNext,
        StatusItem::UidValidity,
        StatusItem::Unseen,
        StatusItem::Deleted,
        StatusItem::Size,
        StatusItem::HighestModSeq,
        StatusItem::AppendLimit,
    ])
}

fn list_command() -> impl Strategy<Value = CommandBody<'static>> {
    let selection =
        any::<[bool; 4]>().prop_map(|[subscribed, remote, recursive_match, special_use]| ListSelection {
            subscribed,
            remote,
            recursive_match: recursive_match && (subscribed || special_use),
            special_use,
        });
    let returns = (any::<[bool; 3]>(), option::of(status_items())).prop_map(
        |([subscribed, children, special_use], status)| ListReturn {
            subscribed,
            children,
            special_use,
            status,
        },
    );
    let patterns = list(text().prop_map(ListPattern), 1..3);
    (selection, name(), patterns, option::of(returns), any::<bool>()).prop_map(
        |(selection, reference, patterns, returns, extended)| {
            let extended =
                extended || returns.is_some() || patterns.len() > 1 || selection != ListSelection::default();
            CommandBody::List(ListCommand { selection, reference, patterns, returns, extended })
        },
    )
}

fn select() -> impl Strategy<Value = CommandBody<'static>> {
    let qresync = (1..=u32::MAX, number64(), option::of(uids()), option::of((uids(), uids()))).prop_map(
        |(uid_validity, modseq, known_uids, seq_match)| Qresync {
            uid_validity,
            modseq,
            known_uids,
            seq_match,
        },
    );
    let params = (any::<bool>(), option::of(qresync))
        .prop_map(|(condstore, qresync)| SelectParams { condstore, qresync });
    (any::<bool>(), name(), params).prop_map(|(examine, mailbox, params)| {
        if examine {
            CommandBody::Examine { mailbox, params }
        } else {
            CommandBody::Select { mailbox, params }
        }
    })
}

fn append() -> impl Strategy<Value = CommandBody<'static>> {
    (name(), list(flag(), 0..4), option::of(date_time()), number64(), any::<[bool; 3]>()).prop_map(
        |(mailbox, flags, date, size, [binary, utf8, non_sync])| {
            let message = AppendMessage { flags, date, size, binary: binary || utf8, utf8, non_sync };
            CommandBody::Append(Append { mailbox, message })
        },
    )
}

fn id() -> impl Strategy<Value = Option<List<'static, IdField<'static>>>> {
    let field = (text(), nstring()).prop_map(|(name, value)| IdField { name, value });
    option::of(list(field, 0..4))
}

fn other_command() -> impl Strategy<Value = CommandBody<'static>> {
    use CommandBody as C;
    let plain = prop::sample::select(vec![
        C::Capability,
        C::Noop,
        C::Logout,
        C::StartTls,
        C::Namespace,
        C::Idle,
        C::Check,
        C::Close,
        C::Unselect,
        C::Expunge,
    ]);
    let base64 = "[A-Za-z0-9+/]{1,12}".prop_map(|text| Initial::Base64(text.leak().as_bytes()));
    let initial = option::of(prop_oneof![Just(Initial::Empty), base64]);
    let uses = list(word().prop_map(Attribute), 0..3);
    prop_oneof![
        plain,
        set().prop_map(C::UidExpunge),
        id().prop_map(C::Id),
        (text(), text()).prop_map(|(user, password)| C::Login { user, password: Secret(password) }),
        (atom(), initial).prop_map(|(mechanism, initial)| C::Authenticate { mechanism, initial }),
        list(atom(), 1..4).prop_map(C::Enable),
        atom().prop_map(C::Compress),
        (any::<bool>(), set(), name()).prop_map(|(uid, set, mailbox)| C::Copy { uid, set, mailbox }),
        (any::<bool>(), set(), name()).prop_map(|(uid, set, mailbox)| C::Move { uid, set, mailbox }),
        (name(), uses).prop_map(|(mailbox, uses)| C::Create { mailbox, uses }),
        name().prop_map(C::Delete),
        name().prop_map(C::Subscribe),
        name().prop_map(C::Unsubscribe),
        (name(), name()).prop_map(|(from, to)| C::Rename { from, to }),
        (name(), text()).prop_map(|(reference, pattern)| C::Lsub { reference, pattern }),
        (name(), status_items()).prop_map(|(mailbox, items)| C::Status { mailbox, items }),
    ]
}

fn command() -> impl Strategy<Value = Command<'static>> {
    let body = prop_oneof![
        1 => fetch(),
        1 => store(),
        1 => search(),
        1 => list_command(),
        1 => select(),
        1 => append(),
        3 => other_command(),
    ];
    ("[A-Za-z0-9.]{1,8}", body).prop_map(|(tag, body)| Command { tag: tag.leak(), body })
}

/// All parts of a command in a row.
fn written(command: &Command<'_>, mode: LiteralMode, utf8: bool) -> Vec<u8> {
    let mut out = SendBuf::with_high_water(1 << 20);
    for part in 0.. {
        let mut e = Emit::client(&mut out, mode, utf8, part);
        command.write(&mut e);
        if !e.is_cut() {
            break;
        }
    }
    out.bytes().to_vec()
}

fn address() -> impl Strategy<Value = Address<'static>> {
    (nstring(), nstring(), nstring(), nstring()).prop_map(|(name, route, mailbox, host)| Address {
        name,
        route,
        mailbox,
        host,
    })
}

fn envelope() -> impl Strategy<Value = Envelope<'static>> {
    let addresses = || list(address(), 0..3);
    let lists = (addresses(), addresses(), addresses(), addresses(), addresses(), addresses());
    (nstring(), nstring(), lists, nstring(), nstring()).prop_map(
        |(date, subject, (from, sender, reply_to, to, cc, bcc), in_reply_to, message_id)| Envelope {
            date,
            subject,
            from,
            sender,
            reply_to,
            to,
            cc,
            bcc,
            in_reply_to,
            message_id,
        },
    )
}

fn params() -> impl Strategy<Value = List<'static, Param<'static>>> {
    list((text(), text()).prop_map(|(name, value)| Param { name, value }), 0..3)
}

fn extension() -> impl Strategy<Value = Extension<'static>> {
    let disposition = (text(), params()).prop_map(|(kind, params)| Disposition { kind, params });
    (option::of(disposition), list(text().prop_map(Str), 0..3), nstring())
        .prop_map(|(disposition, language, location)| Extension { disposition, language, location })
}

fn single(
    message: Option<(Envelope<'static>, Body<'static>)>,
    types: Option<(&'static str, &'static str)>,
) -> impl Strategy<Value = Body<'static>> {
    let fields = (params(), nstring(), nstring(), text(), number64()).prop_map(
        |(params, id, description, encoding, octets)| BodyFields {
            params,
            id,
            description,
            encoding,
            octets,
        },
    );
    (word(), word(), fields, number64(), nstring(), extension()).prop_map(
        move |(media_type, subtype, fields, lines, md5, extension)| {
            let (media_type, subtype) = types.unwrap_or((media_type, subtype));
            let has_lines = media_type == "text" || media_type == "message";
            Body::Single(Single {
                media_type: media_type.into(),
                subtype: subtype.into(),
                fields,
                message: message.map(|(envelope, body)| (envelope, List::of(keep(vec![body])))),
                lines: has_lines.then_some(lines),
                md5,
                extension,
            })
        },
    )
}

fn body() -> impl Strategy<Value = Body<'static>> {
    let plain = single(None, None).prop_filter("a type of its own", |body| match body {
        Body::Single(single) => {
            !single.media_type.eq_ignore_ascii_case(b"text")
                && !single.media_type.eq_ignore_ascii_case(b"message")
        }
        Body::Multi { .. } => false,
    });
    let leaf = prop_oneof![single(None, Some(("text", "plain"))), plain];
    leaf.prop_recursive(4, 12, 3, |inner| {
        let multi = (list(inner.clone(), 1..4), text(), params(), extension()).prop_map(
            |(parts, subtype, params, extension)| Body::Multi { parts, subtype, params, extension },
        );
        let message = (envelope(), inner)
            .prop_flat_map(|(envelope, body)| single(Some((envelope, body)), Some(("message", "rfc822"))));
        prop_oneof![multi, message]
    })
}

fn fetch_attr() -> impl Strategy<Value = FetchAttr<'static>> {
    use FetchAttr as A;
    let origin = || option::of(number64());
    let octets = option::of(vec(any::<u8>(), 0..12).prop_map(|octets| Text::new(keep(octets))));
    prop_oneof![
        (1..=u32::MAX).prop_map(A::Uid),
        list(flag(), 0..4).prop_map(A::Flags),
        date_time().prop_map(A::InternalDate),
        envelope().prop_map(A::Envelope),
        body().prop_map(A::BodyStructure),
        number64().prop_map(A::Rfc822Size),
        nstring().prop_map(A::Rfc822),
        nstring().prop_map(A::Rfc822Header),
        nstring().prop_map(A::Rfc822Text),
        number64().prop_map(A::ModSeq),
        (section(), origin(), nstring()).prop_map(|(section, origin, data)| A::Section {
            section,
            origin,
            data
        }),
        (part(), origin(), octets).prop_map(|(part, origin, data)| A::Binary { part, origin, data }),
        (part(), number64()).prop_map(|(part, size)| A::BinarySize { part, size }),
    ]
}

fn code() -> impl Strategy<Value = Code<'static>> {
    prop_oneof![
        Just(Code::ReadOnly),
        Just(Code::TryCreate),
        (1..=u32::MAX, uids()).prop_map(|(uid_validity, uids)| Code::AppendUid { uid_validity, uids }),
        (1..=u32::MAX, uids(), uids()).prop_map(|(uid_validity, from, to)| Code::CopyUid {
            uid_validity,
            from,
            to
        }),
        list(word().prop_map(Text::from), 0..3).prop_map(Code::BadCharset),
        list(atom(), 0..3).prop_map(Code::Capability),
        list(flag(), 0..3).prop_map(Code::PermanentFlags),
        number64().prop_map(Code::HighestModSeq),
        uids().prop_map(Code::Modified),
        (1..=u32::MAX).prop_map(Code::UidNext),
    ]
}

fn status() -> impl Strategy<Value = Status<'static>> {
    let kind = prop::sample::select(vec![StatusKind::Ok, StatusKind::No, StatusKind::Bad]);
    (kind, option::of(code()), "[a-zA-Z0-9.][ -Z^-~]{0,20}").prop_map(|(kind, code, text)| Status {
        kind,
        code,
        text: (&*text.leak()).into(),
    })
}

fn list_info() -> impl Strategy<Value = ListInfo<'static>> {
    let attributes = list(word().prop_map(Attribute), 0..3);
    let child_info = list(text().prop_map(Str), 0..2);
    (attributes, option::of(1u8..128), name(), child_info, option::of(name())).prop_map(
        |(attributes, delimiter, mailbox, child_info, old_name)| ListInfo {
            attributes,
            delimiter,
            mailbox,
            child_info,
            old_name,
        },
    )
}

fn esearch() -> impl Strategy<Value = Untagged<'static>> {
    let item = prop_oneof![
        (1..=u32::MAX).prop_map(EsearchItem::Min),
        (1..=u32::MAX).prop_map(EsearchItem::Max),
        uids().prop_map(EsearchItem::All),
        any::<u32>().prop_map(EsearchItem::Count),
        number64().prop_map(EsearchItem::ModSeq),
    ];
    (option::of(text()), any::<bool>(), list(item, 0..4))
        .prop_map(|(tag, uid, items)| Untagged::Esearch(Esearch { tag, uid, items }))
}

fn untagged() -> impl Strategy<Value = Untagged<'static>> {
    use Untagged as U;
    let namespace = || {
        let delimiter = option::of(1u8..128);
        let item = (text(), delimiter).prop_map(|(prefix, delimiter)| NamespaceItem { prefix, delimiter });
        list(item, 0..3)
    };
    let value = (status_item(), option::of(number64()));
    let values = list(value.prop_map(|(item, value)| StatusValue { item, value }), 0..4);
    prop_oneof![
        status().prop_map(U::Status),
        list(atom(), 1..4).prop_map(U::Capability),
        list(atom(), 0..4).prop_map(U::Enabled),
        id().prop_map(U::Id),
        (namespace(), namespace(), namespace()).prop_map(|(personal, other_users, shared)| {
            U::Namespace(Namespace { personal, other_users, shared })
        }),
        list_info().prop_map(U::List),
        list_info().prop_map(U::Lsub),
        (name(), values).prop_map(|(mailbox, items)| U::StatusOf { mailbox, items }),
        (list(1..=u32::MAX, 0..5), option::of(number64()))
            .prop_map(|(numbers, modseq)| U::Search { numbers, modseq }),
        esearch(),
        list(flag(), 0..4).prop_map(U::Flags),
        any::<u32>().prop_map(U::Exists),
        any::<u32>().prop_map(U::Recent),
        (1..=u32::MAX).prop_map(U::Expunge),
        (any::<bool>(), uids()).prop_map(|(earlier, uids)| U::Vanished { earlier, uids }),
        (1..=u32::MAX, list(fetch_attr(), 0..4)).prop_map(|(number, attrs)| U::Fetch { number, attrs }),
    ]
}

fn response() -> impl Strategy<Value = Response<'static>> {
    prop_oneof![
        1 => "[ -~]{0,20}".prop_map(|text| Response::Continue((&*text.leak()).into())),
        1 => ("[A-Za-z0-9]{1,8}", status())
            .prop_map(|(tag, status)| Response::Tagged { tag: tag.leak(), status }),
        8 => untagged().prop_map(Response::Untagged),
    ]
}

proptest! {
    #[test]
    fn commands_read_as_they_were_written(command in command(), utf8: bool) {
        for mode in [LiteralMode::Plus, LiteralMode::Minus, LiteralMode::Synchronising] {
            let wire = written(&command, mode, utf8);
            prop_assert_eq!(Command::parse(&wire, utf8), Ok(command), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn responses_read_as_they_were_written(response in response(), utf8: bool) {
        let mut out = SendBuf::with_high_water(1 << 20);
        response.write(&mut Emit::server(&mut out, utf8));
        let wire = out.bytes();
        prop_assert_eq!(Response::parse(wire), Ok(response), "{}", wire.escape_ascii());
    }

    #[test]
    fn damaged_commands_never_panic_and_still_round_trip(
        command in command(), at: prop::sample::Index, with: u8, insert: bool,
    ) {
        let mut wire = written(&command, LiteralMode::Plus, false);
        let at = at.index(wire.len());
        if insert { wire.insert(at, with) } else { wire[at] = with }
        if let Ok(read) = Command::parse(&wire, false) {
            let again = written(&read, LiteralMode::Plus, false);
            prop_assert_eq!(Command::parse(&again, false), Ok(read), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn damaged_responses_never_panic(response in response(), at: prop::sample::Index, with: u8) {
        let mut out = SendBuf::with_high_water(1 << 20);
        response.write(&mut Emit::server(&mut out, false));
        let mut wire = out.bytes().to_vec();
        let at = at.index(wire.len());
        wire[at] = with;
        if let Ok(read) = Response::parse(&wire) {
            // Reading lists again, as their users do, neither panics nor ends early.
            let shown = format!("{read:?}");
            prop_assert!(!shown.is_empty());
        }
    }
}
