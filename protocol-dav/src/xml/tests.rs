use super::{Element, Node, XmlFault, parse};
use crate::limits;
use crate::name::Namespace;

fn fault(body: &str) -> XmlFault {
    parse(body.as_bytes()).expect_err(body)
}

#[test]
fn namespaces_text_and_references() {
    let root = parse(
        b"<?xml version=\"1.0\"?><!-- c --><a:propfind xmlns:a='DAV:' xmlns='urn:x'>\
          <a:prop x='1&amp;&#x41;'>&lt;b&#13;\r\n<![CDATA[<&]]></a:prop><q/></a:propfind>",
    )
    .unwrap();
    assert!(root.is(&Namespace::Dav, "propfind"));
    let prop = root.child(&Namespace::Dav, "prop").unwrap();
    assert_eq!(prop.attribute("x"), Some("1&A"));
    assert_eq!(prop.raw_text(), "<b\r\n<&");
    assert!(root.child(&Namespace::Other("urn:x".into()), "q").is_some());
}

#[test]
fn dv1_document_types_and_entities_are_refused() {
    for body in [
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY x \"y\"><!ENTITY z \"&x;&x;&x;\">]><a>&z;</a>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM \"http://127.0.0.1/\">]><a>&x;</a>",
        "<!doctype a><a/>",
        "<a>&unknown;</a>",
        "<a b='&unknown;'/>",
    ] {
        assert_eq!(fault(body), XmlFault::Entity, "{body}");
    }
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for body in [
        "",
        "  ",
        "<a>",
        "<a></b>",
        "</a>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<a b='1' b='2'/>",
        "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        "<p:a/>",
        "<a p:b='1'/>",
        "<a xmlns:p=''/>",
        "<a xmlns:xml='u'/>",
        "<a xmlns:xmlns='u'/>",
        "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
        "<1/>",
        "<a:b:c xmlns:a='u'/>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a>\u{1}</a>",
        "<a b='<'/>",
        "<a b=1/>",
        "<a b/>",
        "<a>&</a>",
    ] {
        assert_eq!(fault(body), XmlFault::Malformed, "{body}");
    }
    assert_eq!(parse(b"<a>\xFF</a>"), Err(XmlFault::Encoding));
}

#[test]
fn utf_16_is_read() {
    for big in [true, false] {
        let text = "\u{FEFF}<a>\u{1F600}ä</a>";
        let octets: Vec<u8> = text
            .encode_utf16()
            .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
            .collect();
        assert_eq!(parse(&octets).unwrap().text(), "\u{1F600}ä");
        assert_eq!(parse(&octets[..octets.len() - 1]), Err(XmlFault::Encoding));
    }
}

#[test]
fn dv2_each_limit_holds_and_one_past_it_is_refused() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(parse(nested(limits::XML_DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(fault(&nested(limits::XML_DEPTH_MAX + 1)), XmlFault::TooLarge);
    assert_eq!(fault(&nested(100_000)), XmlFault::TooLarge);

    let wide = |count: usize| {
        let attributes: String = (0..count).map(|n| format!(" a{n}='1'")).collect();
        format!("<a{attributes}/>")
    };
    assert!(parse(wide(limits::XML_ATTRIBUTES_MAX).as_bytes()).is_ok());
    assert_eq!(fault(&wide(limits::XML_ATTRIBUTES_MAX + 1)), XmlFault::TooLarge);
    let bound: String = (0..50_000).map(|n| format!(" xmlns:a{n}='u'")).collect();
    assert_eq!(fault(&format!("<a{bound}/>")), XmlFault::TooLarge);

    let many = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count - 1));
    assert!(parse(many(limits::XML_ELEMENTS_MAX).as_bytes()).is_ok());
    assert_eq!(fault(&many(limits::XML_ELEMENTS_MAX + 1)), XmlFault::TooLarge);

    let named = |length: usize| format!("<{}/>", "n".repeat(length));
    assert!(parse(named(limits::XML_NAME_MAX).as_bytes()).is_ok());
    assert_eq!(fault(&named(limits::XML_NAME_MAX + 1)), XmlFault::TooLarge);
    assert_eq!(fault(&named(limits::XML_BODY_MAX)), XmlFault::TooLarge);

    let long = |length: usize| format!("<a>{}</a>", "x".repeat(length - 7));
    assert!(parse(long(limits::XML_BODY_MAX).as_bytes()).is_ok());
    assert_eq!(fault(&long(limits::XML_BODY_MAX + 1)), XmlFault::TooLarge);
}

/// What is equal once prefixes have been declared anew.
fn stripped(mut element: Element) -> Element {
    element.declared.clear();
    for child in &mut element.children {
        if let Node::Element(inner) = child {
            *inner = stripped(inner.clone());
        }
    }
    element
}

#[test]
fn a_fragment_stands_alone() {
    let root = parse(
        "<p:r xmlns:p='urn:p' xmlns='urn:d' xmlns:q='urn:q'><p:a xml:lang='de' q:x='&quot;&#10;'>\
         <b>1 &lt; 2\u{e9}&#13;</b><c xmlns=''><d/></c><q:e xmlns:q='urn:other'/></p:a></p:r>"
            .as_bytes(),
    )
    .unwrap();
    let inner = root.elements().next().unwrap();
    let fragment = inner.to_fragment();
    let again = parse(fragment.as_bytes()).unwrap();
    assert_eq!(stripped(again), stripped(inner.clone()), "{fragment}");
    assert_eq!(parse(fragment.as_bytes()).unwrap().to_fragment(), fragment);
}
