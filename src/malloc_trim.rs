//! What only the start needed, given back to the kernel. Knows nothing of what the program does.
#![allow(unsafe_code)]

use libc::{PF_W, PT_LOAD, c_int, c_void, dl_phdr_info, size_t};

/// Gives back freed heap, and unmaps the program's code and constants: what of them is still used is mapped again, page by
/// page, from the file. To be called once a process has begun its work; most of what was mapped by then is never used again.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions.
    unsafe {
        libc::malloc_trim(0)
    };
    // SAFETY: `unmap` is what dl_iterate_phdr(3) asks of a callback, and takes no data.
    unsafe { libc::dl_iterate_phdr(Some(unmap), std::ptr::null_mut()) };
}

/// Called with the program itself first; its answer ends the iteration there.
///
/// # Safety
/// `info` must be what dl_iterate_phdr(3) passes.
unsafe extern "C" fn unmap(info: *mut dl_phdr_info, _: size_t, _: *mut c_void) -> c_int {
    // SAFETY: the loader's description is valid during the call, and has `dlpi_phnum` headers.
    let (base, headers) = unsafe {
        (
            (*info).dlpi_addr,
            std::slice::from_raw_parts((*info).dlpi_phdr, (*info).dlpi_phnum.into()),
        )
    };
    // SAFETY: no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
    for segment in headers
        .iter()
        .filter(|h| h.p_type == PT_LOAD && h.p_flags & PF_W == 0)
    {
        let start = (base + segment.p_vaddr) as usize;
        let (start, end) = (
            start.next_multiple_of(page),
            (start + segment.p_memsz as usize) / page * page,
        );
        if start < end {
            // SAFETY: the range is mapped by the loader, whole pages of one segment. Not writable, it holds what the file
            // holds and gets the same bytes again at the next access. An error changes nothing.
            unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    1
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_goes_on_as_before() {
        let (before, constant) = (
            vec![7; 100_000],
            std::hint::black_box("a constant of the program"),
        );
        super::give_back();
        assert_eq!((before[99_999], constant.len()), (7, 25));
    }
}
