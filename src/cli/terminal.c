/* Ctrl-C and what kind of terminal there is. */
#include "cli/terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static volatile bool interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = true;
}

void terminal_catch_interrupt(void) {
    interrupted = false;
    // SA_RESETHAND makes the second Ctrl-C deadly; without SA_RESTART a waiting read ends.
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

void terminal_release_interrupt(void) {
    signal(SIGINT, SIG_DFL);
}

bool terminal_interrupted(void) {
    return interrupted;
}

volatile const bool *terminal_interrupt_flag(void) {
    return &interrupted;
}

bool terminal_is(int fd) {
    return isatty(fd) == 1;
}

bool terminal_is_smart(int fd) {
    const char *const term = getenv("TERM");
    return terminal_is(fd) && term != NULL && strcmp(term, "") != 0 && strcmp(term, "dumb") != 0;
}

int terminal_width(int fd) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
    return size.ws_col;
}
