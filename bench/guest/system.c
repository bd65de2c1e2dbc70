/* What a busy kernel does most: system calls, processes, page faults, signals, files, and talk between processes. */
#define _GNU_SOURCE
#include "kernel.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t run_syscall(long repeats)
{
    uint64_t total = 0;
    for (long n = 0; n < repeats * 1000; n++)
        total += syscall(SYS_getppid) > 0;
    return total;
}

static int wait_for(pid_t child)
{
    int status = 0;
    require(waitpid(child, &status, 0) != child, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

uint64_t run_fork(long repeats)
{
    uint64_t total = 0;
    for (long n = 0; n < repeats; n++) {
        pid_t child = fork();
        require(child < 0, "fork");
        if (child == 0)
            _exit((int)(n & 0x7f));
        total += (uint64_t)wait_for(child);
    }
    return total;
}

/* A dynamically linked program, so that its loader and relocations are in it. */
uint64_t run_exec(long repeats)
{
    uint64_t total = 0;
    for (long n = 0; n < repeats; n++) {
        pid_t child;
        char *const arguments[] = {"kernels", "nothing", NULL};
        require(posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ), "posix_spawn");
        total += (uint64_t)wait_for(child);
    }
    return total;
}

/* One byte there and back between two processes: two switches of address space each. */
uint64_t run_pipe(long repeats)
{
    int there[2], back[2];
    require(pipe(there) || pipe(back), "pipe");
    pid_t child = fork();
    require(child < 0, "fork");
    uint8_t byte = 0;
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            byte++;
            if (write(back[1], &byte, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    uint64_t total = 0;
    for (long n = 0; n < repeats; n++) {
        byte = (uint8_t)n;
        require(write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1, "pipe");
        total += byte;
    }
    close(there[1]);
    return total + (uint64_t)wait_for(child);
}

static sem_t asked, answered;
static long shared_value;

static void *answer(void *argument)
{
    for (long n = *(long *)argument; n > 0; n--) {
        sem_wait(&asked);
        shared_value += n & 3;
        sem_post(&answered);
    }
    return NULL;
}

/* Two threads of one process that wake each other: futexes, and switches within an address space. */
uint64_t run_threads(long repeats)
{
    pthread_t thread;
    require(sem_init(&asked, 0, 0) || sem_init(&answered, 0, 0), "sem_init");
    require(pthread_create(&thread, NULL, answer, &repeats), "pthread_create");
    for (long n = 0; n < repeats; n++) {
        sem_post(&asked);
        sem_wait(&answered);
    }
    pthread_join(thread, NULL);
    return (uint64_t)shared_value;
}

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
    signals += number == SIGUSR1;
}

uint64_t run_signal(long repeats)
{
    struct sigaction action = {.sa_handler = on_signal};
    require(sigaction(SIGUSR1, &action, NULL), "sigaction");
    for (long n = 0; n < repeats; n++)
        raise(SIGUSR1);
    return (uint64_t)signals;
}

/* Fresh pages touched for the first time, then pages of a child copied at its first write. */
uint64_t run_pagefault(long repeats)
{
    enum { PAGES = 512, PAGE_BYTES = 4096 };
    uint64_t total = 0;
    for (long n = 0; n < repeats; n++) {
        uint8_t *memory =
            mmap(NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(memory == MAP_FAILED, "mmap");
        for (int page = 0; page < PAGES; page++)
            memory[page * PAGE_BYTES] = (uint8_t)(page + n);
        pid_t child = fork();
        require(child < 0, "fork");
        if (child == 0) {
            for (int page = 0; page < PAGES; page += 2)
                memory[page * PAGE_BYTES]++;
            _exit(memory[0] & 0x7f);
        }
        total += (uint64_t)wait_for(child) + memory[PAGE_BYTES];
        require(munmap(memory, PAGES * PAGE_BYTES), "munmap");
    }
    return total;
}

/* Small files in memory: made, written, read back and removed. */
uint64_t run_files(long repeats)
{
    static uint8_t data[8192];
    char name[32];
    uint64_t total = 0;
    for (long n = 0; n < repeats; n++) {
        snprintf(name, sizeof name, "/tmp/file%ld", n % 16);
        int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        require(file < 0, "open");
        data[n % (long)sizeof data] = (uint8_t)n;
        require(write(file, data, sizeof data) != sizeof data, "write");
        require(lseek(file, 0, SEEK_SET) != 0, "lseek");
        require(read(file, data, sizeof data) != sizeof data, "read");
        total += data[n % (long)sizeof data];
        close(file);
        require(unlink(name), "unlink");
    }
    return total;
}

/* Requests and answers of 64 bytes on one connection over the loopback interface. */
uint64_t run_tcp(long repeats)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    require(bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1), "listen");
    require(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
    uint8_t message[64] = {0};
    pid_t child = fork();
    require(child < 0, "fork");
    if (child == 0) {
        int peer = accept(listener, NULL, NULL);
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        while (recv(peer, message, sizeof message, MSG_WAITALL) == sizeof message) {
            message[0]++;
            if (send(peer, message, sizeof message, 0) != sizeof message)
                _exit(1);
        }
        _exit(0);
    }
    int client = socket(AF_INET, SOCK_STREAM, 0);
    require(connect(client, (struct sockaddr *)&address, length), "connect");
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    uint64_t total = 0;
    for (long n = 0; n < repeats; n++) {
        message[0] = (uint8_t)n;
        require(send(client, message, sizeof message, 0) != sizeof message, "send");
        require(recv(client, message, sizeof message, MSG_WAITALL) != sizeof message, "recv");
        total += message[0];
    }
    close(client);
    return total + (uint64_t)wait_for(child);
}
