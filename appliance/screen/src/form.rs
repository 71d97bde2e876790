//! The settings of one interface as they are typed. The screen only sees that addresses are addresses; whether they make
//! sense together is the supervisor's word.

use std::net::IpAddr;

use jingui_ipc::network::{
    InterfaceSettings, InterfaceView, Method, NetworkSettings, NetworkView, Placement, Port, Prefixed,
};

use crate::field::Field;
use crate::keys::Key;

/// How the interface gets its addresses, as a person chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Fixed addresses.
    Static,
    /// DHCP.
    Dhcp,
    /// None: the interface stays silent.
    Off,
}

/// Lines of the form, in order.
pub const LINES: [Line; 6] = [
    Line::Choice,
    Line::Address,
    Line::Gateway,
    Line::Address6,
    Line::Gateway6,
    Line::Continue,
];

/// A line of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Static, DHCP or off.
    Choice,
    /// IPv4 address with its prefix.
    Address,
    /// IPv4 gateway.
    Gateway,
    /// IPv6 address with its prefix.
    Address6,
    /// IPv6 gateway.
    Gateway6,
    /// To the preview.
    Continue,
}

/// The form.
#[derive(Debug)]
pub struct NetworkForm {
    /// The interface as it is now.
    pub interface: InterfaceView,
    /// How it gets its addresses.
    pub choice: Choice,
    /// Index in [`LINES`].
    pub focus: usize,
    /// A line whose text is no address.
    pub wrong: Option<Line>,
    current: Option<NetworkSettings>,
    fields: [Field; 4],
}

/// Settings before and after.
pub type Change = (Option<NetworkSettings>, NetworkSettings);

impl NetworkForm {
    /// The form of the interface at that place; `None` when there is none.
    #[must_use]
    pub fn new(view: NetworkView, place: usize) -> Option<Self> {
        let interface = view.interfaces.get(place).cloned()?;
        let known = view.current.as_ref().and_then(|settings| {
            let is_it = |one: &&InterfaceSettings| is_port(&one.port, &interface);
            settings.interfaces.iter().find(is_it)
        });
        let (choice, placements) = match known.map(|one| &one.method) {
            Some(Method::Dhcp) => (Choice::Dhcp, [].as_slice()),
            Some(Method::Static(placements)) => (Choice::Static, placements.as_slice()),
            None => (Choice::Static, [].as_slice()),
        };
        let of = |is_v4: bool| {
            placements
                .iter()
                .find(|one| one.address.address().is_ipv4() == is_v4)
        };
        let pair = |found: Option<&Placement>| {
            let address = found.map(|one| one.address.to_string());
            let gateway = found.and_then(|one| one.gateway).map(|it| it.to_string());
            [address, gateway].map(|text| Field::with(&text.unwrap_or_default()))
        };
        let ([address, gateway], [address6, gateway6]) = (pair(of(true)), pair(of(false)));
        Some(Self {
            fields: [address, gateway, address6, gateway6],
            current: view.current,
            interface,
            choice,
            focus: 0,
            wrong: None,
        })
    }

    /// The line that keys go to.
    #[must_use]
    pub fn line(&self) -> Line {
        LINES.get(self.focus).copied().unwrap_or(Line::Continue)
    }

    /// What a line holds, if it is one to type into.
    #[must_use]
    pub fn field(&self, line: Line) -> Option<&Field> {
        let index = LINES.iter().position(|one| *one == line)?.checked_sub(1)?;
        self.fields.get(index)
    }

    /// Takes a key; gives the change when the form is whole.
    pub fn take(&mut self, key: Key) -> Option<Change> {
        let last = LINES.len() - 1;
        match (key, self.line()) {
            (Key::Up, _) => self.focus = self.step(false),
            (Key::Down | Key::Tab, _) => self.focus = self.step(true),
            (Key::Left | Key::Right | Key::Sign(' '), Line::Choice) => self.choose(key),
            (Key::Enter, _) if self.focus < last => self.focus = self.step(true),
            (Key::Enter, _) => return self.finish(),
            (key, _) => {
                let index = self.focus.checked_sub(1);
                if let Some(field) = index.and_then(|index| self.fields.get_mut(index)) {
                    field.take(key);
                    self.wrong = None;
                }
            }
        }
        None
    }

    /// Without fixed addresses there is nothing between the choice and the end.
    fn step(&self, is_down: bool) -> usize {
        let last = LINES.len() - 1;
        match (self.choice, is_down) {
            (Choice::Static, true) => (self.focus + 1).min(last),
            (Choice::Static, false) => self.focus.saturating_sub(1),
            (_, true) => last,
            (_, false) => 0,
        }
    }

    fn choose(&mut self, key: Key) {
        let order = [Choice::Static, Choice::Dhcp, Choice::Off];
        let place = order.iter().position(|one| *one == self.choice).unwrap_or(0);
        let step = if key == Key::Left { order.len() - 1 } else { 1 };
        self.choice = order
            .get((place + step) % order.len())
            .copied()
            .unwrap_or(Choice::Static);
        self.wrong = None;
    }

    fn finish(&mut self) -> Option<Change> {
        let method = match self.choice {
            Choice::Off => None,
            Choice::Dhcp => Some(Method::Dhcp),
            Choice::Static => match self.placements() {
                Ok(placements) => Some(Method::Static(placements)),
                Err(line) => {
                    self.wrong = Some(line);
                    self.focus = LINES.iter().position(|one| *one == line).unwrap_or(0);
                    return None;
                }
            },
        };
        let mut after = self.current.clone().unwrap_or_default();
        let interface = &self.interface;
        let place = after
            .interfaces
            .iter()
            .position(|one| is_port(&one.port, interface));
        match (place, method) {
            (Some(place), None) => {
                after.interfaces.remove(place);
            }
            (Some(place), Some(method)) => {
                if let Some(one) = after.interfaces.get_mut(place) {
                    one.method = method;
                }
            }
            (None, Some(method)) => after.interfaces.push(InterfaceSettings {
                port: Port::Name(self.interface.name.clone()),
                method,
            }),
            (None, None) => {}
        }
        Some((self.current.clone(), after))
    }

    /// The typed addresses, or the line that holds none.
    fn placements(&self) -> Result<Vec<Placement>, Line> {
        let mut placements = Vec::new();
        for (address_line, gateway_line, is_v4) in [
            (Line::Address, Line::Gateway, true),
            (Line::Address6, Line::Gateway6, false),
        ] {
            let text = |line| self.field(line).map_or("", |field| field.text().trim());
            let (address, gateway) = (text(address_line), text(gateway_line));
            if address.is_empty() && gateway.is_empty() {
                continue;
            }
            let address: Prefixed = address.parse().map_err(|_| address_line)?;
            let gateway: Option<IpAddr> = if gateway.is_empty() {
                None
            } else {
                Some(gateway.parse().map_err(|_| gateway_line)?)
            };
            if address.address().is_ipv4() != is_v4 {
                return Err(address_line);
            }
            placements.push(Placement { address, gateway });
        }
        if placements.is_empty() {
            return Err(Line::Address);
        }
        Ok(placements)
    }
}

fn is_port(port: &Port, interface: &InterfaceView) -> bool {
    match port {
        Port::Name(name) => *name == interface.name,
        Port::Mac(mac) => interface.mac == Some(*mac),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> NetworkView {
        let interface = |name: &str, mac: &str| InterfaceView {
            name: name.to_owned(),
            mac: mac.parse().ok(),
            has_carrier: true,
            addresses: Vec::new(),
        };
        let dhcp = InterfaceSettings {
            port: Port::Mac("52:54:00:12:34:57".parse().unwrap()),
            method: Method::Dhcp,
        };
        NetworkView {
            interfaces: vec![
                interface("ens3", "52:54:00:12:34:56"),
                interface("ens4", "52:54:00:12:34:57"),
            ],
            current: Some(NetworkSettings {
                interfaces: vec![dhcp],
            }),
            previous: None,
        }
    }

    fn type_into(form: &mut NetworkForm, text: &str) {
        for sign in text.chars() {
            form.take(Key::Sign(sign));
        }
        form.take(Key::Enter);
    }

    #[test]
    fn typed_addresses_are_added_to_what_is_in_force() {
        let mut form = NetworkForm::new(view(), 0).unwrap();
        form.take(Key::Enter);
        for text in ["10.0.2.15/24", "10.0.2.2", "fd00::2/64", "fe80::1"] {
            type_into(&mut form, text);
        }
        let (_, after) = form.take(Key::Enter).unwrap();
        let lines: Vec<String> = after.interfaces.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "52:54:00:12:34:57 dhcp",
                "ens3 static 10.0.2.15/24 via 10.0.2.2 fd00::2/64 via fe80::1"
            ]
        );
    }

    #[test]
    fn what_is_no_address_is_shown_on_its_line() {
        for (texts, wrong) in [
            (["", "", "", ""], Line::Address),
            (["10.0.2.15", "", "", ""], Line::Address),
            (["fd00::2/64", "", "", ""], Line::Address),
            (["10.0.2.15/24", "router", "", ""], Line::Gateway),
            (["", "", "10.0.2.15/24", ""], Line::Address6),
            (["10.0.2.15/24", "", "", "fe80::1"], Line::Address6),
        ] {
            let mut form = NetworkForm::new(view(), 0).unwrap();
            form.take(Key::Enter);
            for text in texts {
                type_into(&mut form, text);
            }
            assert!(form.take(Key::Enter).is_none());
            assert_eq!((form.wrong, form.line()), (Some(wrong), wrong), "{texts:?}");
        }
    }

    #[test]
    fn an_interface_that_is_known_by_its_address_keeps_that_name_and_can_be_silenced() {
        let mut form = NetworkForm::new(view(), 1).unwrap();
        assert_eq!(form.choice, Choice::Dhcp);
        form.take(Key::Right);
        assert_eq!(form.choice, Choice::Off);
        form.take(Key::Enter);
        let (before, after) = form.take(Key::Enter).unwrap();
        assert_eq!(before.unwrap().interfaces.len(), 1);
        assert!(after.interfaces.is_empty());
        assert!(NetworkForm::new(view(), 2).is_none());
    }
}
