//! The terminal: taken while the dashboard runs, given back when it is dropped and before a panic is told.

use std::io;
use std::thread;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc::Sender;

use super::model::{Key, Message};

/// The whole terminal.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal, and sends what is typed there.
    pub(super) fn take(news: Sender<Message>) -> io::Result<Self> {
        // Its panic hook gives the terminal back, too.
        let screen = Self(ratatui::try_init()?);
        // It waits in a read that nothing ends: the process does.
        thread::Builder::new().name("keys".into()).spawn(move || {
            while let Ok(event) = read() {
                let Some(message) = message(&event) else { continue };
                if news.blocking_send(message).is_err() {
                    return;
                }
            }
        })?;
        Ok(screen)
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = ratatui::try_restore();
    }
}

fn message(event: &Event) -> Option<Message> {
    match event {
        Event::Key(pressed) if pressed.kind != KeyEventKind::Release => key(pressed).map(Message::Key),
        Event::Resize(..) => Some(Message::Resized),
        _ => None,
    }
}

fn key(pressed: &KeyEvent) -> Option<Key> {
    let with_control = pressed.modifiers.contains(KeyModifiers::CONTROL);
    Some(match pressed.code {
        KeyCode::Char('c') if with_control => Key::Interrupt,
        KeyCode::Char(_) if with_control => return None,
        KeyCode::Char(typed) => Key::Char(typed),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Left | KeyCode::BackTab => Key::Left,
        KeyCode::Right | KeyCode::Tab => Key::Right,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        _ => return None,
    })
}
