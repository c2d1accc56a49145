@echo off
rem Uploads the files and directories that are dropped on this file; with a double click, the config's upload_dir.
rem
rem Explorer quotes only paths with blanks. So cmd ends the command at an ampersand in a path, and loses each caret. It
rem keeps the line that Explorer made: C:\Windows\system32\cmd.exe /c ""C:\here\upload.bat" C:\a.png "C:\two words.png""
rem From here on a bar, which no path has, stands for each quote of that line. Where a path is expanded, it stands in
rem quotes: nothing of it is run.
setlocal EnableExtensions DisableDelayedExpansion
pushd "%~dp0"
rem In UTF-8, so that Chinese names are shown as they are.
chcp 65001 >nul
set "line=%cmdcmdline:"=|%"
set "line=%line:*||=%"
for /f "delims=|" %%A in ("%line%") do set "script=%%A"
rem In a console cmd was started for other things, and its user quotes.
if not "%script%"=="%~0" goto typed
set leave=exit
set files=
set "dropped=%line:*| =%"
set "dropped=%dropped:~0,-1%"

:next
if not defined dropped goto upload
set "end= "
if "%dropped:~0,1%"=="|" set "end=|"
for /f "tokens=1* delims=%end%" %%A in ("%dropped%") do (
  set "file=%%A"
  set "dropped=%%B"
)
rem The \ of D:\ would keep a quote open.
if "%file:~-1%"=="\" set "file=%file%."
set files=%files% "%file%"
if "%dropped:~0,1%"==" " set "dropped=%dropped:~1%"
goto next

:typed
set leave=exit /b
set files=%*

:upload
set recursive=
if defined files set recursive=-r
wx-upload.exe %recursive% %files%
set status=%errorlevel%
pause
popd
rem This also ends a cmd that took a part of a path for a further command.
%leave% %status%
