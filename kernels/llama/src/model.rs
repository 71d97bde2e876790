//! A model: weights read from a descriptor, and the facts in them.

use std::ffi::{CString, c_void};
use std::fmt;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use crate::backend::{initialise, text_of};
use crate::vocab::Special;

/// Why weights could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The descriptor cannot be read as a file from its start.
    #[error("the weights cannot be read from their descriptor")]
    Descriptor(#[source] std::io::Error),
    /// llama.cpp does not accept the file; its reason went to the log.
    #[error("llama.cpp refused the weights")]
    Refused,
    /// The progress callback asked to stop.
    #[error("loading was stopped")]
    Stopped,
    /// The model has an encoder of its own kind (such as T5), which nothing here computes. Embedding models and rerankers
    /// are taken, see [`Model::purpose`].
    #[error("the model is not a text decoder")]
    NotADecoder,
}

/// What may differ between loads of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Loads the next-token layer too, if the file has one: weights of one more layer, for
    /// [`crate::Context::mtp_drafter`].
    pub has_next_token_layer: bool,
    /// Copies quantised tensors into the layout that this CPU computes fastest. Costs the time and the private memory
    /// of that copy: most of a load from a warm cache (measured, 301 MB of Q4_K: 0.27 s of one core and 205 MB with,
    /// 0.05 s and nothing without). llama-server does the same. With it the file is read, since a map would be
    /// resident beside the copy; without it all but the header is mapped.
    pub repacks: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            has_next_token_layer: false,
            repacks: true,
        }
    }
}

/// Weights in memory, read-only. Shared between threads by `Arc`.
pub struct Model {
    raw: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
    specials: Vec<Special>,
    vocab_size: u32,
    has_next_token_layer: bool,
}

// SAFETY: after loading, a `llama_model` and its vocabulary are only read; llama.cpp itself shares one model between
// contexts of several threads.
unsafe impl Send for Model {}
// SAFETY: as above; all methods take `&self` and call functions that take `const llama_model *`.
unsafe impl Sync for Model {}

impl Model {
    /// Reads the GGUF file behind `weights` and makes its tensors usable.
    ///
    /// The file is read through this one descriptor, from its first byte; nothing is opened by name. All tensors come into
    /// private memory, quantised ones in the layout that this CPU computes fastest; without
    /// [`LoadOptions::repacks`] the file is mapped, shared and read-only, and used in place. `progress` gets values from 0 to 1 on this thread
    /// and may return `false` to stop.
    ///
    /// The bytes must be verified before: the parser behind this call is C++.
    ///
    /// # Errors
    /// Every [`LoadError`].
    pub fn load(weights: OwnedFd, progress: impl FnMut(f32) -> bool) -> Result<Self, LoadError> {
        Self::load_with(weights, LoadOptions::default(), progress)
    }

    /// As [`Model::load`], with choices.
    ///
    /// # Errors
    /// Every [`LoadError`].
    pub fn load_with(
        weights: OwnedFd,
        options: LoadOptions,
        progress: impl FnMut(f32) -> bool,
    ) -> Result<Self, LoadError> {
        initialise();
        let file = OpenFile::from(weights)?;
        let mut watch = Watch {
            progress,
            is_stopped: false,
        };
        let mut params = default_params();
        params.load_mode = if options.repacks {
            // What is repacked is copied anyway; a map beside it would only be resident a second time.
            sys::LLAMA_LOAD_MODE_NONE
        } else {
            sys::LLAMA_LOAD_MODE_MMAP
        };
        params.load_mtp = options.has_next_token_layer;
        params.use_extra_bufts = options.repacks;
        // The bytes were verified before; this would read all of them once more.
        params.check_tensors = false;
        params.progress_callback = Some(on_progress(&watch));
        params.progress_callback_user_data = (&raw mut watch).cast();
        // SAFETY: `file` is an open stream that outlives the call (llama.cpp maps it and keeps no handle), the
        // callback fits `watch`, which outlives the call, and all other parameters are llama.cpp's defaults.
        let raw = unsafe { sys::llama_model_load_from_file_ptr(file.0.as_ptr().cast(), params) };
        let Some(raw) = NonNull::new(raw) else {
            return Err(if watch.is_stopped {
                LoadError::Stopped
            } else {
                LoadError::Refused
            });
        };
        // SAFETY: `raw` is a live model; the vocabulary is a part of it.
        let vocab = unsafe { sys::llama_model_get_vocab(raw.as_ptr()) };
        let vocab = NonNull::new(vocab.cast_mut()).ok_or(LoadError::Refused);
        let mut model = match vocab {
            Ok(vocab) => Self {
                raw,
                vocab,
                specials: Vec::new(),
                vocab_size: 0,
                has_next_token_layer: false,
            },
            Err(refused) => {
                // SAFETY: `raw` was just made and nobody else knows it.
                unsafe { sys::llama_model_free(raw.as_ptr()) };
                return Err(refused);
            }
        };
        model.read_vocabulary()?;
        model.has_next_token_layer =
            options.has_next_token_layer && file.has_next_token_layer(model.raw())?;
        if model.is_decoder() {
            Ok(model)
        } else {
            Err(LoadError::NotADecoder)
        }
    }

    fn read_vocabulary(&mut self) -> Result<(), LoadError> {
        // SAFETY: the vocabulary lives as long as `self`.
        let size = unsafe { sys::llama_vocab_n_tokens(self.vocab.as_ptr()) };
        self.vocab_size = u32::try_from(size)
            .ok()
            .filter(|n| *n > 0)
            .ok_or(LoadError::Refused)?;
        self.specials = self.find_specials();
        Ok(())
    }

    fn is_decoder(&self) -> bool {
        // SAFETY: the model lives as long as `self`.
        let has_decoder = unsafe { sys::llama_model_has_decoder(self.raw.as_ptr()) };
        // SAFETY: as above.
        let has_encoder = unsafe { sys::llama_model_has_encoder(self.raw.as_ptr()) };
        has_decoder && !has_encoder
    }

    /// Tokens in the vocabulary; ids run from 0 to one below.
    #[must_use]
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// Longest context in tokens that the model was trained for.
    #[must_use]
    pub fn trained_context_tokens(&self) -> u32 {
        // SAFETY: the model lives as long as `self`.
        let tokens = unsafe { sys::llama_model_n_ctx_train(self.raw.as_ptr()) };
        u32::try_from(tokens).unwrap_or(0)
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        // SAFETY: the model lives as long as `self`.
        unsafe { sys::llama_model_size(self.raw.as_ptr()) }
    }

    /// The chat template in the file, if it has one.
    #[must_use]
    pub fn chat_template(&self) -> Option<String> {
        // SAFETY: the model lives as long as `self`; a null name asks for the default template.
        let text = unsafe { sys::llama_model_chat_template(self.raw.as_ptr(), std::ptr::null()) };
        (!text.is_null()).then(|| text_of(text))
    }

    /// A metadata value of the file as text, for example of `general.architecture`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let mut value = vec![0u8; METADATA_BYTES_MAX];
        // SAFETY: `key` is NUL-terminated, and at most `value.len()` bytes are written to `value`.
        let length = unsafe {
            sys::llama_model_meta_val_str(
                self.raw.as_ptr(),
                key.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        // The length that the whole value has; the buffer also holds a NUL.
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length < value.len())?;
        Some(String::from_utf8_lossy(value.get(..length)?).into_owned())
    }

    /// Whether the next-token layer is loaded and can be computed.
    #[must_use]
    pub fn has_next_token_layer(&self) -> bool {
        let architecture = self.metadata("general.architecture");
        // SAFETY: the model lives as long as `self`.
        let layers = unsafe { sys::llama_model_n_layer_nextn(self.raw.as_ptr()) };
        // One layer, and of the architecture whose drafts are tested here: others assert other things.
        self.has_next_token_layer && layers == 1 && architecture.as_deref() == Some("glm4moe")
    }

    /// Whether its memory is plain keys and values, one cell per position: neither recurrent nor hybrid nor a sliding
    /// window.
    pub(crate) fn has_plain_memory(&self) -> bool {
        // SAFETY: the model lives as long as `self`.
        let is_recurrent = unsafe { sys::llama_model_is_recurrent(self.raw.as_ptr()) };
        // SAFETY: as above.
        let is_hybrid = unsafe { sys::llama_model_is_hybrid(self.raw.as_ptr()) };
        // SAFETY: as above.
        let window = unsafe { sys::llama_model_n_swa(self.raw.as_ptr()) };
        !is_recurrent && !is_hybrid && window == 0
    }

    /// Tells models apart whose saved sequences do not fit each other. Two models of one shape and size are equal
    /// here; the caller keeps them apart by their digests.
    pub(crate) fn state_fingerprint(&self) -> u64 {
        // FNV-1a, 64 bits.
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let architecture = self.metadata("general.architecture").unwrap_or_default();
        // SAFETY: the model lives as long as `self`.
        let layers = unsafe { sys::llama_model_n_layer(self.raw.as_ptr()) };
        // SAFETY: as above.
        let parameters = unsafe { sys::llama_model_n_params(self.raw.as_ptr()) };
        [
            architecture.as_bytes(),
            &layers.to_le_bytes(),
            &parameters.to_le_bytes(),
            &self.tensor_bytes().to_le_bytes(),
            &self.vocab_size.to_le_bytes(),
        ]
        .into_iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325, fold)
    }

    pub(crate) fn raw(&self) -> *mut sys::llama_model {
        self.raw.as_ptr()
    }

    pub(crate) fn raw_vocab(&self) -> *const sys::llama_vocab {
        self.vocab.as_ptr()
    }

    /// All special tokens, longest name first.
    #[must_use]
    pub fn specials(&self) -> &[Special] {
        &self.specials
    }
}

/// Longest metadata value that [`Model::metadata`] gives, in bytes.
const METADATA_BYTES_MAX: usize = 4096;

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: `raw` came from llama.cpp, is freed only here, and every context holds its model by `Arc`.
        unsafe { sys::llama_model_free(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("vocab_size", &self.vocab_size)
            .finish_non_exhaustive()
    }
}

/// A C stream over a descriptor, closed on drop.
struct OpenFile(NonNull<libc::FILE>);

impl OpenFile {
    fn from(weights: OwnedFd) -> Result<Self, LoadError> {
        let descriptor = weights.into_raw_fd();
        // SAFETY: the descriptor is open and ours; the mode is NUL-terminated. On success the stream owns it.
        let stream = unsafe { libc::fdopen(descriptor, c"rb".as_ptr()) };
        let Some(stream) = NonNull::new(stream) else {
            let error = std::io::Error::last_os_error();
            // SAFETY: `fdopen` failed, so the descriptor is still ours and closed only here.
            unsafe { libc::close(descriptor) };
            return Err(LoadError::Descriptor(error));
        };
        let file = Self(stream);
        // llama.cpp reads from where the descriptor stands, which another holder may have moved.
        file.rewind()?;
        Ok(file)
    }

    fn rewind(&self) -> Result<(), LoadError> {
        // SAFETY: an open stream.
        let status = unsafe { libc::fseeko(self.0.as_ptr(), 0, libc::SEEK_SET) };
        if status == 0 {
            Ok(())
        } else {
            Err(LoadError::Descriptor(std::io::Error::last_os_error()))
        }
    }

    /// Whether the file holds the tensors of the next-token layer. Its metadata may speak of a layer that was cut off,
    /// and computing that would abort the process. llama.cpp has loaded the file before: where the first tensor of the
    /// layer is, it has demanded the others.
    fn has_next_token_layer(&self, model: *const sys::llama_model) -> Result<bool, LoadError> {
        // SAFETY: the model was just loaded.
        let layer = unsafe { sys::llama_model_n_layer(model) };
        let name =
            CString::new(format!("blk.{layer}.nextn.eh_proj.weight")).map_err(|_| LoadError::Refused)?;
        self.rewind()?;
        let params = sys::gguf_init_params {
            no_alloc: true,
            ctx: std::ptr::null_mut(),
        };
        // SAFETY: an open stream at its start; reads the header only, and allocates no tensors.
        let header = unsafe { sys::gguf_init_from_file_ptr(self.0.as_ptr().cast(), params) };
        if header.is_null() {
            return Err(LoadError::Refused);
        }
        // SAFETY: a live header, and a NUL-terminated name.
        let index = unsafe { sys::gguf_find_tensor(header, name.as_ptr()) };
        // SAFETY: made above, freed only here.
        unsafe { sys::gguf_free(header) };
        Ok(index >= 0)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: the stream was opened in `from` and is closed only here. Mappings made through it stay.
        unsafe { libc::fclose(self.0.as_ptr()) };
    }
}

struct Watch<F> {
    progress: F,
    is_stopped: bool,
}

/// The callback that fits `_watch`: names the closure's type, which cannot be written out.
fn on_progress<F: FnMut(f32) -> bool>(_watch: &Watch<F>) -> unsafe extern "C" fn(f32, *mut c_void) -> bool {
    unsafe extern "C" fn call<F: FnMut(f32) -> bool>(progress: f32, user: *mut c_void) -> bool {
        // SAFETY: `user` is the `Watch<F>` that `Model::load` passed with this callback; it outlives the call, and
        // llama.cpp calls from the loading thread only, so no other reference exists.
        let watch = unsafe { &mut *user.cast::<Watch<F>>() };
        // A panic must not unwind into C++; it stops the loading instead.
        let goes_on = catch_unwind(AssertUnwindSafe(|| (watch.progress)(progress))).unwrap_or(false);
        watch.is_stopped |= !goes_on;
        goes_on
    }
    call::<F>
}

fn default_params() -> sys::llama_model_params {
    // SAFETY: fills a plain struct with defaults; no preconditions.
    unsafe { sys::llama_model_default_params() }
}
