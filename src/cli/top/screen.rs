//! [`Screen`]: the terminal while a picture is drawn in it; restored whatever happens.

use std::io;

use ratatui::{DefaultTerminal, Frame};

/// The terminal's alternate screen; dropping it, a panic, too, brings back what was there.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Switches to the alternate screen, without echo.
    pub(super) fn open() -> io::Result<Self> {
        // Its panic hook restores the terminal before the message is printed.
        ratatui::try_init().map(Self)
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The cursor is hidden while drawing; a terminal that is gone needs nothing.
        _ = self.0.show_cursor();
        _ = ratatui::try_restore();
    }
}
