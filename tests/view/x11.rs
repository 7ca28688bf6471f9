//! A program's own window: an X11 window that is created without this crate's event loop.

#![allow(unsafe_code)] // Lends the connection.

use std::num::NonZeroU32;
use std::ptr::NonNull;

use raw_window_handle::{
    DisplayHandle, HandleError, HasDisplayHandle, HasWindowHandle, RawDisplayHandle, RawWindowHandle, WindowHandle,
    XcbDisplayHandle, XcbWindowHandle,
};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConfigureWindowAux, ConnectionExt, CreateWindowAux, ImageFormat, WindowClass};
use x11rb::wrapper::ConnectionExt as _;
use x11rb::xcb_ffi::XCBConnection;

/// A window on the screen.
pub(crate) struct Own {
    connection: XCBConnection,
    screen: usize,
    window: u32,
}

impl Own {
    /// Opens a window. Returns `None` and reports the reason if there is no X server.
    pub(crate) fn open([width, height]: [u32; 2]) -> Option<Self> {
        let (connection, screen) = match XCBConnection::connect(None) {
            Ok(connected) => connected,
            Err(error) => {
                bridge_tests::skip(bridge_tests::Need::Other, &format!("there is no X server: {error}"));
                return None;
            }
        };
        let window = connection.generate_id().unwrap();
        let root = &connection.setup().roots[screen];
        let aux = CreateWindowAux::new().background_pixel(0).override_redirect(1);
        let (parent, visual) = (root.root, root.root_visual);
        let (width, height) = (width as u16, height as u16);
        connection
            .create_window(0, window, parent, 0, 0, width, height, 0, WindowClass::INPUT_OUTPUT, visual, &aux)
            .unwrap()
            .check()
            .unwrap();
        connection.map_window(window).unwrap().check().unwrap();
        Some(Self { connection, screen, window })
    }

    pub(crate) fn resize(&self, [width, height]: [u32; 2]) {
        let size = ConfigureWindowAux::new().width(width).height(height);
        self.connection.configure_window(self.window, &size).unwrap().check().unwrap();
    }

    pub(crate) fn destroy(&self) {
        self.connection.destroy_window(self.window).unwrap().check().unwrap();
        self.connection.sync().unwrap();
    }

    /// Returns the red, green and blue values of the window's pixels; the window has this size.
    pub(crate) fn pixels(&self, [width, height]: [u32; 2]) -> Vec<[u8; 3]> {
        let (width, height) = (width as u16, height as u16);
        let image = self.connection.get_image(ImageFormat::Z_PIXMAP, self.window, 0, 0, width, height, u32::MAX);
        let bytes = image.unwrap().reply().unwrap().data;
        bytes.chunks_exact(4).map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect()
    }
}

impl HasDisplayHandle for Own {
    fn display_handle(&self) -> Result<DisplayHandle<'_>, HandleError> {
        let connection = NonNull::new(self.connection.get_raw_xcb_connection());
        let raw = RawDisplayHandle::Xcb(XcbDisplayHandle::new(connection, self.screen as i32));
        // SAFETY: the connection lives as long as this is borrowed.
        Ok(unsafe { DisplayHandle::borrow_raw(raw) })
    }
}

impl HasWindowHandle for Own {
    fn window_handle(&self) -> Result<WindowHandle<'_>, HandleError> {
        let window = NonZeroU32::new(self.window).ok_or(HandleError::Unavailable)?;
        // SAFETY: the server refuses requests for a destroyed window, and nothing accesses memory
        // through the number.
        Ok(unsafe { WindowHandle::borrow_raw(RawWindowHandle::Xcb(XcbWindowHandle::new(window))) })
    }
}
